"""ONNX Runtime on an NVIDIA GPU."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime import InferenceSession, OrtValue, RunOptions, SessionOptions

from bundle.files import Bundle
from bundle.graph import INPUT, OUTPUT
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.batch_size import powers_of_two
from server.engines.candidate import Candidate
from server.engines.engine import EngineFailed
from server.engines.machine import Machine, Unusable
from server.engines.restarting import RestartingEngine
from server.engines.table import ONNXRUNTIME_CUDA
from server.host.cores import Niceness, lower_priority
from trt.gpus import Gpu
from trt.graphs import proven

log = logging.getLogger(__name__)

GRAPHS = ("fp32", "fp16")
"""The precisions of the graphs that it runs. It would compute INT8 slower than these."""

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
_SETTINGS = {
    "arena_extend_strategy": "kSameAsRequested",  # else its memory doubles whenever it grows
    "use_tf32": 0,  # 10 bits of 23: such answers are not those of float32
}
_CURE = "run `pip install 'onnxruntime-gpu[cuda,cudnn]'`, and see that the NVIDIA driver is new enough for that CUDA"


def candidates(bundle: Bundle, machine: Machine) -> Iterator[Candidate]:
    if why := why_not():
        raise Unusable(why)
    first = machine.gpus[0]
    speed_depends_on = f"{first.name} {first.driver} {machine.max_batch}"
    for graph in proven(bundle, GRAPHS):
        make = _maker(bundle.path / graph.file, machine.gpus, graph.precision, machine.max_batch)
        yield Candidate(ONNXRUNTIME_CUDA.name, graph.precision, make, speed_depends_on, "gpu", len(machine.gpus))


def _maker(graph: Path, gpus: Sequence[Gpu], precision: str, max_batch: int) -> Callable[[int], RestartingEngine]:
    def make(number: int) -> RestartingEngine:
        gpu = gpus[number].index
        return RestartingEngine(
            ONNXRUNTIME_CUDA.name, precision, lambda: OrtCudaEngine(graph, gpu, precision, max_batch)
        )

    return make


def why_not() -> str:
    """Why ONNX Runtime cannot use CUDA here, and the cure; "" where it can."""
    if _PROVIDERS["cuda"] in onnxruntime.get_available_providers():
        return ""
    return (
        "this ONNX Runtime is the one for CPUs: run `pip uninstall onnxruntime`, then "
        "`pip install 'onnxruntime-gpu[cuda,cudnn]'`"
    )


class OrtCudaEngine:
    """A graph in ONNX Runtime's CUDA provider, in the graph's own precision.

    Batches are padded to sizes of 1, 2, 4 … `max_batch`. Each size has its own buffers on the GPU, and a CUDA graph
    over them where the provider can capture one. The provider demands that one thread captures and replays them all:
    other threads hand batches to that thread, the next one while it has another.
    """

    name = ONNXRUNTIME_CUDA.name

    def __init__(self, graph: Path, gpu: int, precision: str, max_batch: int, *, _device: str = "cuda") -> None:
        """Slow: every size is run once. Raises EngineFailed where CUDA does not work, or what the runtime raises."""
        self.precision = precision
        self._thread = ThreadPoolExecutor(1, f"{_device}-{gpu}", lower_priority, (Niceness.ENGINE,))
        self._sizes = self._thread.submit(_sizes, graph, gpu, max_batch, _device).result()

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Raises ValueError for more images than `max_batch`."""
        size = min(size for size in self._sizes if size >= len(pixels))
        return self._thread.submit(self._sizes[size].run, pixels).result

    def run(self, pixels: Pixels) -> Probabilities:
        return self.start(pixels)()


class _Size:
    """Batches of up to so many images: buffers at fixed addresses, and the CUDA graph that was captured over them.

    After its creation it is used in the engine's thread alone.
    """

    def __init__(self, session: InferenceSession, images: int, device: str, gpu: int) -> None:
        (pixels,), (probabilities,) = session.get_inputs(), session.get_outputs()
        shape = (images, *pixels.shape[1:])
        self._filled: Pixels = np.zeros(shape, np.uint8)  # the rest of a padded batch is left from before
        self._pixels = OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, device, gpu)
        self._rows = OrtValue.ortvalue_from_shape_and_type((images, probabilities.shape[1]), np.float32, device, gpu)
        self._session = session
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._pixels)
        self._binding.bind_ortvalue_output(OUTPUT, self._rows)
        self._options = RunOptions()
        self._options.add_run_config_entry("gpu_graph_id", str(images))

    def run(self, pixels: Pixels) -> Probabilities:
        images = len(pixels)
        if images < len(self._filled):
            self._filled[:images] = pixels
            pixels = self._filled
        self._pixels.update_inplace(pixels)
        self._session.run_with_iobinding(self._binding, self._options)
        return np.array(self._rows.numpy()[:images])

    def warm_up(self) -> None:
        """One run, in which the provider allocates, runs, captures and replays as often as it needs."""
        self.run(self._filled)


def _sizes(graph: Path, gpu: int, max_batch: int, device: str) -> dict[int, _Size]:
    """By number of images, warmed up; without CUDA graphs where the provider refuses them. In the engine's thread."""
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # of CUDA's Python packages, which the linker would not find
    try:
        return _warmed_up(_session(graph, device, {"device_id": gpu, "enable_cuda_graph": 1}), gpu, max_batch, device)
    except EngineFailed:
        raise
    except Exception as error:  # a node runs on the CPU, or does what a CUDA graph cannot hold
        log.warning("%s runs without CUDA graphs: %s", graph.name, error)
    return _warmed_up(_session(graph, device, {"device_id": gpu}), gpu, max_batch, device)


def _warmed_up(session: InferenceSession, gpu: int, max_batch: int, device: str) -> dict[int, _Size]:
    sizes = {images: _Size(session, images, device, gpu) for images in sorted({*powers_of_two(max_batch), max_batch})}
    for images in sorted(sizes, reverse=True):  # the others reuse the memory that the largest takes
        sizes[images].warm_up()
    return sizes


def _session(graph: Path, device: str, settings: dict[str, int]) -> InferenceSession:
    provider = _PROVIDERS[device]
    onnxruntime.disable_telemetry_events()
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = [(provider, {**_SETTINGS, **settings} if device == "cuda" else {})]
    session = InferenceSession(str(graph), options, providers=providers, enable_fallback=0)
    if provider not in session.get_providers():  # ONNX Runtime only warns of a provider that it cannot load
        raise EngineFailed(f"ONNX Runtime could not load CUDA: {_CURE}.")
    return session
