"""Builder: builds the bytes of a plan from a graph."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass

import tensorrt
from cuda.core import Device

from bundle.graph import INPUT
from export.errors import ExportError
from export.progress import Progress
from export.tensorrt.monitor import BuildMonitor
from export.tensorrt.network import parse
from trt.messages import Messages, messages
from trt.sidecar import Target
from trt.store import Store


@dataclass(frozen=True)
class Builder:
    """Builds plans for one GPU. `batches`: the batch sizes; `workspace_bytes`: the most scratch memory of a kernel."""

    batches: tuple[int, ...]
    workspace_bytes: int
    gpu: int
    target: Target
    store: Store

    def build(self, model: bytes, progress: Progress) -> bytes:
        """A plan of the graph with one optimisation profile for each batch size, for exactly that size.

        Raises ExportError where TensorRT cannot build it, and KeyboardInterrupt soon after Ctrl-C.
        """
        Device(self.gpu).set_current()
        messages().clear()
        builder = tensorrt.Builder(messages())
        network = parse(builder, model, messages())
        config = self._config(builder, network, messages())
        with self._timing_cache(config):
            plan = self._serialized(builder, network, config, progress)
            if plan is None:
                why = messages().last_errors()
                raise ExportError(f"TensorRT {tensorrt.__version__} built no plan: {why}. {_cure(why)}")
        return bytes(plan)

    def _config(
        self, builder: "tensorrt.Builder", network: "tensorrt.INetworkDefinition", messages: Messages
    ) -> "tensorrt.IBuilderConfig":
        config = builder.create_builder_config()
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, self.workspace_bytes)
        config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED  # layer names for the sidecar
        config.clear_flag(tensorrt.BuilderFlag.TF32)  # TF32 would exceed the tolerance of fp32, 1e-4
        _, *image = network.get_input(0).shape
        for batch in self.batches:
            profile = builder.create_optimization_profile()
            shape = (batch, *image)
            profile.set_shape(INPUT, shape, shape, shape)
            if config.add_optimization_profile(profile) < 0:
                why = messages.last_errors()
                raise ExportError(f"TensorRT rejected batches of {batch}: {why}. Try another --max-batch.")
        return config

    @contextlib.contextmanager
    def _timing_cache(self, config: "tensorrt.IBuilderConfig") -> Iterator[None]:
        """Reuse the timings of earlier builds, and store them afterwards. A cache that TensorRT rejects is dropped."""
        cache = config.create_timing_cache(self.store.timings(self.target))
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        yield
        self.store.put_timings(self.target, bytes(config.get_timing_cache().serialize()))

    def _serialized(
        self,
        builder: "tensorrt.Builder",
        network: "tensorrt.INetworkDefinition",
        config: "tensorrt.IBuilderConfig",
        progress: Progress,
    ) -> "tensorrt.IHostMemory | None":
        """The plan, or None where TensorRT failed.

        TensorRT builds in a thread of its own, so that the calling thread can receive Ctrl-C and stop the build at its
        next step.
        """
        monitor = config.progress_monitor = BuildMonitor(progress)
        building: Future[tensorrt.IHostMemory | None] = Future()

        def build() -> None:  # runs in the build thread
            try:
                Device(self.gpu).set_current()  # CUDA's current device is a setting of each thread
                building.set_result(builder.build_serialized_network(network, config))
            except BaseException as error:
                building.set_exception(error)

        thread = threading.Thread(target=build, name="building")
        try:
            thread.start()
            while not building.done():
                wait((building,), _SIGNAL_CHECK_S)
            return building.result()
        except BaseException:
            monitor.stop()
            while thread.is_alive():
                thread.join()
            raise


_SIGNAL_CHECK_S = 0.1
"""The longest single wait. A signal that arrives just before a wait does not end it: Python handles it afterwards."""


def _cure(why: str) -> str:
    if "workspace" in why:
        return "Give more with --workspace-mib, or build for a smaller --max-batch."
    return "Try `--se native`, a smaller --max-batch, or while nothing else uses the GPU."
