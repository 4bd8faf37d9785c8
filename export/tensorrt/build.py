"""Build: from a graph to the bytes of a plan."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass

import tensorrt as trt
from cuda.core import Device

from export.errors import ExportError
from export.progress import Progress
from export.tensorrt.network import parsed
from export.tensorrt.watching import Watching
from plans.contexts import INPUT
from plans.messages import Messages, messages
from plans.sidecar import Target
from plans.store import Store


@dataclass(frozen=True)
class Builder:
    """What plans are built for: the batch sizes, and how much memory a kernel may take for itself."""

    batches: tuple[int, ...]
    workspace_bytes: int
    gpu: int
    target: Target
    store: Store

    def build(self, model: bytes, progress: Progress) -> bytes:
        """A plan of the graph, with one optimisation profile for each batch size, which suits that one alone.

        Raises ExportError where TensorRT does not build it, and KeyboardInterrupt soon after Ctrl-C.
        """
        Device(self.gpu).set_current()
        messages().forget()
        builder = trt.Builder(messages())
        network = parsed(builder, model, messages())
        config = self._config(builder, network, messages())
        with self._timings(config):
            plan = self._built(builder, network, config, progress)
            if plan is None:
                why = messages().why()
                raise ExportError(f"TensorRT {trt.__version__} built no plan: {why}. {_cure(why)}")
        return bytes(plan)

    def _config(
        self, builder: "trt.Builder", network: "trt.INetworkDefinition", messages: Messages
    ) -> "trt.IBuilderConfig":
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.workspace_bytes)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # names and formats, for the report on layers
        config.clear_flag(trt.BuilderFlag.TF32)  # fp32 shall be fp32: its proof asks for 1e-4
        _, *image = network.get_input(0).shape
        for batch in self.batches:
            profile = builder.create_optimization_profile()
            shape = (batch, *image)
            profile.set_shape(INPUT, shape, shape, shape)
            if config.add_optimization_profile(profile) < 0:
                raise ExportError(f"TensorRT refused batches of {batch}: {messages.why()}. Try another --max-batch.")
        return config

    @contextlib.contextmanager
    def _timings(self, config: "trt.IBuilderConfig") -> Iterator[None]:
        """What earlier builds measured is not measured again. Timings that TensorRT does not take are dropped."""
        cache = config.create_timing_cache(self.store.timings(self.target))
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        yield
        self.store.put_timings(self.target, bytes(config.get_timing_cache().serialize()))

    def _built(
        self,
        builder: "trt.Builder",
        network: "trt.INetworkDefinition",
        config: "trt.IBuilderConfig",
        progress: Progress,
    ) -> "trt.IHostMemory | None":
        """In a thread of its own, so that Ctrl-C reaches this one; TensorRT then gives up at its next step."""
        watching = config.progress_monitor = Watching(progress)
        building: Future[trt.IHostMemory | None] = Future()

        def build() -> None:
            try:
                Device(self.gpu).set_current()  # each thread has its own
                building.set_result(builder.build_serialized_network(network, config))
            except BaseException as error:
                building.set_exception(error)

        thread = threading.Thread(target=build, name="building")
        try:
            thread.start()
            while not building.done():
                wait((building,), _HEEDS_SIGNALS_S)
            return building.result()
        except BaseException:
            watching.stop()
            while thread.is_alive():
                thread.join()
            raise


_HEEDS_SIGNALS_S = 0.1
"""A signal that comes just before a wait begins does not end it: Python handles it when the wait is over."""


def _cure(why: str) -> str:
    if "workspace" in why:
        return "Give more with --workspace-mib, or build for a smaller --max-batch."
    return "Try `--se native`, a smaller --max-batch, or while nothing else uses the GPU."
