"""Contexts: a plan's execution contexts, one for each batch size, each launched as one CUDA graph."""

import contextlib
import logging
from typing import Any

import tensorrt
from cuda.core import Buffer, Device, Stream

from bundle.graph import INPUT, OUTPUT
from trt.errors import PlanError
from trt.messages import messages
from trt.slots import Launch

log = logging.getLogger(__name__)


class Contexts:
    """The execution contexts of a plan by batch size.

    The shapes of a context never change: each change would leak a plugin's kernels (NVIDIA/TensorRT #4849), and a CUDA
    graph is for one shape. The contexts share scratch memory, so only one may compute at a time: all use one stream.
    """

    def __init__(self, engine: "tensorrt.ICudaEngine", device: Device, stream: Stream) -> None:
        """Raises PlanError where the plan's inputs and outputs are not those of a bundle's graph."""
        self._stream = stream
        self._require_interface(engine)
        profiles = range(engine.num_optimization_profiles)
        scratch = int(engine.device_memory_size_v2)  # as much as the profile that needs most
        self._scratch = device.allocate(max(scratch, 1), stream=stream)
        by_size = {int(engine.get_tensor_profile_shape(INPUT, index)[2][0]): index for index in profiles}
        self.sizes = sorted(by_size)
        self._contexts = {size: self._context(engine, by_size[size], size, scratch) for size in self.sizes}
        stream.sync()

    def launch(self, size: int, pixels: Buffer, rows: Buffer) -> Launch:
        """The launch of a batch of that size that reads and writes these buffers."""
        direct = self._direct_launch(self._contexts[size], pixels, rows)
        direct(self._stream)  # in its first run TensorRT does extra work, which must not be captured
        self._stream.sync()
        try:
            return self._capture(direct)
        except Exception as error:  # cuda.core's, or PlanError where TensorRT cannot run while captured
            log.warning("batches of %d are launched without a CUDA graph: %s", size, error)
            return direct

    def _direct_launch(self, context: "tensorrt.IExecutionContext", pixels: Buffer, rows: Buffer) -> Launch:
        def launch(stream: Stream) -> None:
            for name, buffer in ((INPUT, pixels), (OUTPUT, rows)):
                self._require(context.set_tensor_address(name, int(buffer.handle)), f"the address of {name}")
            self._require(context.execute_async_v3(int(stream.handle)), "the run")

        return launch

    def _capture(self, direct: Launch) -> Launch:
        """The same launch as a CUDA graph."""
        builder = self._stream.create_graph_builder().begin_building("thread_local")
        try:
            direct(builder.stream)
        except BaseException:
            with contextlib.suppress(Exception):  # it raises too, as the capture failed
                builder.end_building()
            raise
        graph = builder.end_building().complete()
        graph.upload(self._stream)
        launch: Launch = graph.launch
        return launch

    def _context(
        self, engine: "tensorrt.ICudaEngine", profile: int, size: int, scratch: int
    ) -> "tensorrt.IExecutionContext":
        context = engine.create_execution_context(tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._require(context, "the execution context")
        context.nvtx_verbosity = tensorrt.ProfilingVerbosity.NONE  # the details in our plans slow each launch
        context.set_device_memory(int(self._scratch.handle), scratch)
        self._require(context.set_optimization_profile_async(profile, int(self._stream.handle)), f"profile {profile}")
        shape = (size, *tuple(engine.get_tensor_shape(INPUT))[1:])
        self._require(context.set_input_shape(INPUT, shape), f"the shape {shape}")
        if missing := context.infer_shapes():
            raise PlanError(f"TensorRT does not know the shapes of {', '.join(missing)}: build the plan again.")
        return context

    def _require_interface(self, engine: "tensorrt.ICudaEngine") -> None:
        found = {name: _signature(engine, name) for name in map(engine.get_tensor_name, range(engine.num_io_tensors))}
        expected = {INPUT: "INPUT UINT8", OUTPUT: "OUTPUT FLOAT"}
        if found != expected:
            raise PlanError(f"The plan's inputs and outputs are {found}, not {expected}: build it again.")

    def _require(self, result: Any, what: str) -> None:
        """Raises PlanError for False or None, with which TensorRT reports failures."""
        if not result:
            raise PlanError(f"TensorRT rejected {what}: {messages().last_errors()}.")


def _signature(engine: "tensorrt.ICudaEngine", name: str) -> str:
    return f"{engine.get_tensor_mode(name).name} {engine.get_tensor_dtype(name).name}"
