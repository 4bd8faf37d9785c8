"""A fake TensorRT that needs no GPU: the part of its bindings that this project uses.

Its plans contain the ONNX graph, which ONNX Runtime computes on the CPU. `state` is what tests set and read.
"""

import ctypes
import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from tests.support.fake_cuda import Device, Stream

VERSION = "11.4.0.106"
HEADER = b"ftrt" + bytes(20) + bytes(map(int, VERSION.split(".")))


@dataclass
class Trt:
    """What tests set and read. `refuse`: calls that fail as the real ones do, with False, None or -1; `raising`: calls
    that raise.
    """

    refuse: set[str] = field(default_factory=set)
    raising: set[str] = field(default_factory=set)
    built: list[onnx.ModelProto] = field(default_factory=list)
    plugins: set[str] = field(default_factory=set)
    timings: list[bytes] = field(default_factory=list)
    steps: int = 3
    step_s: float = 0.0
    workspace: int = 0
    built_on: list[int | None] = field(default_factory=list)
    hold: bool = False  # builds never end
    wrong_size: int = 0  # a batch size with wrong answers


state = Trt()


def granted(call: str) -> bool:
    if call in state.raising:
        raise RuntimeError(f"{call} raises")
    if call in state.refuse:
        for logger in ILogger.made:
            logger.log(ILogger.Severity.ERROR, f"{call} was refused")
    return call not in state.refuse


class ILogger:
    made: ClassVar[list[Any]] = []

    class Severity(Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def __init__(self) -> None:
        ILogger.made[:] = [self]

    def log(self, severity: "ILogger.Severity", msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 0
    PREFER_JIT_PYTHON_PLUGINS = 1
    PREFER_AOT_PYTHON_PLUGINS = 2


class MemoryPoolType(Enum):
    WORKSPACE = 0


class ProfilingVerbosity(Enum):
    NONE = 1
    DETAILED = 2


class BuilderFlag(Enum):
    TF32 = 0


class LayerInformationFormat(Enum):
    JSON = 1


class ExecutionContextAllocationStrategy(Enum):
    USER_MANAGED = 2


class TensorIOMode(Enum):
    INPUT = 1
    OUTPUT = 2


class DataType(Enum):
    FLOAT = 0
    UINT8 = 1


class _Tensor:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model: Any = None

    def get_input(self, index: int) -> _Tensor:
        shape = self.model.graph.input[index].type.tensor_type.shape.dim
        return _Tensor((-1, *(dim.dim_value for dim in shape[1:])))


class ErrorCode(Enum):
    UNSUPPORTED_NODE = 1


class ParserError:
    def __init__(self, said: str) -> None:
        self.said = said

    def node_operator(self) -> str:
        return "Gelu"

    def node_name(self) -> str:
        return "layer1.0/Gelu"

    def local_function_stack(self) -> list[str]:
        return ["SEGate"]

    def desc(self) -> str:
        return self.said

    def code(self) -> ErrorCode:
        return ErrorCode.UNSUPPORTED_NODE


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network = network
        self.num_errors = int("parse" in state.refuse)
        self._said = "no importer\nfor it"

    def parse(self, model: bytes) -> bool:
        self._network.model = onnx.load_from_string(model)
        readers = {node.op_type for node in self._network.model.graph.node if "pixels" in node.input}
        if readers != {"Cast"}:  # NVIDIA/TensorRT #3985
            self.num_errors = 1
            self._said = "the first input has type UInt8,\nwhich a Transpose does not take"
            return False
        return granted("parse")

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._said)


class IOptimizationProfile:
    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:
        assert (input, min, opt) == ("pixels", max, max)
        self.batch = max[0]


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"timed;"


class IBuilderConfig:
    def __init__(self) -> None:
        self.progress_monitor: Any = None
        self.profiling_verbosity: Any = None
        self.batches: list[int] = []

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        state.workspace = pool_size

    def clear_flag(self, flag: BuilderFlag) -> None:
        pass

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.batches.append(profile.batch)
        return len(self.batches) - 1 if granted("profile") else -1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        state.timings.append(serialized_timing_cache)
        return ITimingCache(serialized_timing_cache) if not serialized_timing_cache or granted("cache") else None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return not cache.data or granted("cache mismatch")

    def get_timing_cache(self) -> ITimingCache:
        return self._cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        pass

    def create_network(self, flags: int) -> INetworkDefinition:
        assert flags == 0b101  # strongly typed, and plugins compiled ahead of time
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        state.built_on.append(Device.current())
        while state.hold:
            time.sleep(0.1)
        watching = config.progress_monitor
        watching.phase_start("Building engine", None, 6)
        watching.phase_start("Computing profile costs", "Building engine", state.steps)
        for step in range(state.steps):
            time.sleep(state.step_s)
            if not watching.step_complete("Computing profile costs", step):
                return None
        watching.phase_finish("Computing profile costs")
        watching.phase_finish("Building engine")
        state.built.append(network.model)
        if not granted("build") or not granted("build for want of workspace"):
            return None
        told = json.dumps(config.batches).encode()
        graph: bytes = network.model.SerializeToString()
        return HEADER + len(told).to_bytes(4, "little") + told + graph


class IExecutionContext:
    def __init__(self, engine: "ICudaEngine") -> None:
        self.nvtx_verbosity = ProfilingVerbosity.DETAILED
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self._memory = 0

    def set_device_memory(self, memory: int, size: int) -> None:
        self._memory = memory

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in Stream.by_handle
        self._batch = self._engine.batches[profile_index]
        return granted("profile of a context")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert not self._shape, "contexts keep their shapes"
        self._shape = shape
        return granted("shape") and shape[0] == self._batch

    def infer_shapes(self) -> list[str]:
        return [] if granted("infer") else ["pixels"]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return granted("address")

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert self._memory
        source, target, shape = self._addresses["pixels"], self._addresses["probabilities"], self._shape
        assert Device.current() is not None
        assert self.nvtx_verbosity is ProfilingVerbosity.NONE

        def work() -> None:
            pixels = np.array((ctypes.c_uint8 * int(np.prod(shape))).from_address(source)).reshape(shape)
            rows = self._engine.answers(pixels)
            if state.wrong_size == shape[0]:
                rows = rows[::-1].copy()
            ctypes.memmove(target, rows.ctypes.data, rows.nbytes)

        Stream.by_handle[stream_handle].put(work)
        return granted("run")


class EngineInspector:
    def __init__(self, engine: "ICudaEngine") -> None:
        self._engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        rows: list[Any] = [{"Name": node.name, "LayerType": node.op_type} for node in self._engine.model.graph.node]
        rows += [{"Name": "Reformatting CopyNode for Input 0", "LayerType": "Reformat"}, "a name [profile 1]"]
        rows += [{"Name": "wait_0", "LayerType": "wait"}]
        return json.dumps({"Layers": rows}) if granted("inspect") else "{}"


@functools.lru_cache(maxsize=4)
def _remembering(model: bytes) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The function that a graph computes. It computes equal pixels once: most tests compare the same few images."""
    session = onnxruntime.InferenceSession(model)
    known: dict[tuple[bytes, int], NDArray[np.float32]] = {}

    def answers(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        key = (hashlib.sha256(pixels.tobytes()).digest(), len(pixels))
        if key not in known:
            known[key] = session.run(None, {"pixels": pixels})[0]
        return known[key]

    return answers


class ICudaEngine:
    num_io_tensors = 2

    def __init__(self, batches: Sequence[int], model: bytes) -> None:
        self.batches = batches
        self.model = onnx.load_from_string(model)
        self.answers = _remembering(model)
        self.num_optimization_profiles = len(batches)

    def get_tensor_name(self, index: int) -> str:
        return ("pixels", "probabilities")[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        graph = self.model.graph
        value = {row.name: row for row in (*graph.input, *graph.output)}[name]
        return (-1, *(dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]))

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "pixels" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if name == "pixels" and granted("types") else DataType.FLOAT

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(self.batches[profile_index], *self.get_tensor_shape(name)[1:])] * 3

    @property
    def device_memory_size_v2(self) -> int:
        return 1000 * max(self.batches)

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy) -> IExecutionContext | None:
        return IExecutionContext(self) if granted("context") else None

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        assert Device.current() is not None
        if not granted("deserialize") or serialized_engine[:28] != HEADER:
            return None
        length = int.from_bytes(serialized_engine[28:32], "little")
        return ICudaEngine(json.loads(serialized_engine[32 : 32 + length]), serialized_engine[32 + length :])


NAMES = [
    "Builder", "BuilderFlag", "DataType", "EngineInspector", "ExecutionContextAllocationStrategy", "IBuilderConfig",
    "ICudaEngine", "IExecutionContext", "ILogger", "INetworkDefinition", "IOptimizationProfile", "IProgressMonitor",
    "ITimingCache", "LayerInformationFormat", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser",
    "ParserError", "ProfilingVerbosity", "Runtime", "TensorIOMode",
]  # fmt: skip


def module() -> ModuleType:
    """A module to put in the place of `tensorrt`, with a fresh state."""
    state.__dict__.update(Trt().__dict__)
    fake = ModuleType("tensorrt")
    fake.__spec__ = ModuleSpec("tensorrt", None)
    for name in NAMES:
        setattr(fake, name, globals()[name])
    fake.__version__ = VERSION  # type: ignore[attr-defined]
    fake.get_nv_onnx_parser_version = lambda: 110400  # type: ignore[attr-defined]
    return fake
