"""Contexts: a plan's state on the GPU, one for each batch size, and each launched as one CUDA graph."""

import contextlib
import logging
from typing import Any

import tensorrt as trt
from cuda.core import Buffer, Device, Stream

from plans.errors import PlanError
from plans.messages import messages
from plans.slots import Launch

log = logging.getLogger(__name__)

INPUT, OUTPUT = "pixels", "probabilities"


class Contexts:
    """The shapes of a context never change: kernels of plugins leak with every change (NVIDIA/TensorRT #4849), and a
    CUDA graph holds for one shape. They share scratch memory, so one at a time may compute: all use one stream.
    """

    def __init__(self, engine: "trt.ICudaEngine", device: Device, stream: Stream) -> None:
        """Raises PlanError where the engine is not one of ours."""
        self._stream = stream
        self._demand_ours(engine)
        profiles = range(engine.num_optimization_profiles)
        scratch = int(engine.device_memory_size_v2)  # for the profile that needs most
        self._scratch = device.allocate(max(scratch, 1), stream=stream)
        by_size = {int(engine.get_tensor_profile_shape(INPUT, index)[2][0]): index for index in profiles}
        self.sizes = sorted(by_size)
        self._contexts = {size: self._context(engine, by_size[size], size, scratch) for size in self.sizes}
        stream.sync()

    def launch(self, size: int, pixels: Buffer, rows: Buffer) -> Launch:
        """How a batch of that size is computed from and to those buffers."""
        plain = self._plain(self._contexts[size], pixels, rows)
        plain(self._stream)  # TensorRT does work of its own at the first time, which no graph may hold
        self._stream.sync()
        try:
            return self._captured(plain)
        except Exception as error:  # cuda.core's own, or ours where TensorRT does not launch while captured
            log.warning("batches of %d are launched without a CUDA graph: %s", size, error)
            return plain

    def _plain(self, context: "trt.IExecutionContext", pixels: Buffer, rows: Buffer) -> Launch:
        def launch(stream: Stream) -> None:
            for name, buffer in ((INPUT, pixels), (OUTPUT, rows)):
                self._must(context.set_tensor_address(name, int(buffer.handle)), f"an address for {name}")
            self._must(context.execute_async_v3(int(stream.handle)), "to run")

        return launch

    def _captured(self, plain: Launch) -> Launch:
        builder = self._stream.create_graph_builder().begin_building("thread_local")
        try:
            plain(builder.stream)
        except BaseException:
            with contextlib.suppress(Exception):  # what was captured is spoiled, and says so
                builder.end_building()
            raise
        graph = builder.end_building().complete()
        graph.upload(self._stream)
        launch: Launch = graph.launch
        return launch

    def _context(self, engine: "trt.ICudaEngine", profile: int, size: int, scratch: int) -> "trt.IExecutionContext":
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._must(context, "a context")
        context.nvtx_verbosity = trt.ProfilingVerbosity.NONE  # plans are built with details, which cost at each launch
        context.set_device_memory(int(self._scratch.handle), scratch)
        self._must(context.set_optimization_profile_async(profile, int(self._stream.handle)), f"profile {profile}")
        shape = (size, *tuple(engine.get_tensor_shape(INPUT))[1:])
        self._must(context.set_input_shape(INPUT, shape), f"the shape {shape}")
        if missing := context.infer_shapes():
            raise PlanError(f"TensorRT lacks shapes of {', '.join(missing)}: build the plan again.")
        return context

    def _demand_ours(self, engine: "trt.ICudaEngine") -> None:
        found = {name: _told(engine, name) for name in map(engine.get_tensor_name, range(engine.num_io_tensors))}
        wanted = {INPUT: "INPUT UINT8", OUTPUT: "OUTPUT FLOAT"}
        if found != wanted:
            raise PlanError(f"The plan's inputs and outputs are {found}, not {wanted}: build it again.")

    def _must(self, granted: Any, what: str) -> None:
        """TensorRT tells failures by False and None."""
        if not granted:
            raise PlanError(f"TensorRT refused {what}: {messages().why()}.")


def _told(engine: "trt.ICudaEngine", name: str) -> str:
    return f"{engine.get_tensor_mode(name).name} {engine.get_tensor_dtype(name).name}"
