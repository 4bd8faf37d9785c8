"""ONNX Runtime on a GPU, where TensorRT has no plan."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime import InferenceSession, OrtValue, RunOptions, SessionOptions

from bundle.images import Pixels
from bundle.predictions import Probabilities

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16")
"""Graphs that the provider has kernels for."""

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


class OrtCudaEngine:
    """A graph in ONNX Runtime's CUDA provider, one CUDA graph for each batch size, its buffers on the GPU for good."""

    name = "onnxruntime-cuda"

    def __init__(self, graph: Path, gpu: int, precision: str, max_batch: int, device: str = "cuda") -> None:
        """Raises RuntimeError where the provider does not work here. `device`: tests run this very code on a CPU."""
        self.precision = precision
        onnxruntime.disable_telemetry_events()
        session, captured = _session(graph, gpu, device)
        image, classes = tuple(session.get_inputs()[0].shape[1:]), session.get_outputs()[0].shape[1]
        sizes = [*(1 << power for power in range(max_batch.bit_length()) if 1 << power < max_batch), max_batch]
        self._batches = [_Batch(session, size, image, classes, device, gpu, captured) for size in sizes]

    def run(self, pixels: Pixels) -> Probabilities:
        most = self._batches[-1].size
        return np.concatenate([self._part(pixels[at : at + most]) for at in range(0, len(pixels), most)])

    def _part(self, pixels: Pixels) -> Probabilities:
        return next(batch for batch in self._batches if batch.size >= len(pixels)).run(pixels)


class _Batch:
    """Buffers for so many images, bound once. Fewer leave the rest as it was, and its rows are not read."""

    def __init__(
        self,
        session: InferenceSession,
        size: int,
        image: tuple[int, ...],
        classes: int,
        device: str,
        gpu: int,
        captured: bool,
    ) -> None:
        self.size = size
        self._session = session
        self._host = np.zeros((size, *image), np.uint8)
        self._pixels = OrtValue.ortvalue_from_shape_and_type((size, *image), np.uint8, device, gpu)
        self._rows = OrtValue.ortvalue_from_shape_and_type((size, classes), np.float32, device, gpu)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("pixels", self._pixels)
        self._binding.bind_ortvalue_output("probabilities", self._rows)
        self._options = RunOptions()
        if captured:  # a graph for each number; two runs, as it is captured in the second
            self._options.add_run_config_entry("gpu_graph_id", str(size))
        for _ in range(2):
            self.run(self._host[:1])

    def run(self, pixels: Pixels) -> Probabilities:
        self._host[: len(pixels)] = pixels
        self._pixels.update_inplace(self._host)
        self._session.run_with_iobinding(self._binding, self._options)
        return np.array(self._rows.numpy()[: len(pixels)])


def unavailable() -> str:
    """Why CUDA cannot be used; "" where the package that can is installed."""
    if _PROVIDERS["cuda"] in onnxruntime.get_available_providers():
        return ""
    return "this onnxruntime has no CUDA: run `pip uninstall onnxruntime` and `pip install '.[gpu]'`"


def _session(graph: Path, gpu: int, device: str) -> tuple[InferenceSession, bool]:
    """The session, and whether it captures CUDA graphs: not where part of the graph would run on the CPU."""
    if device == "cpu":
        return _made(graph, device, {}), False
    onnxruntime.preload_dlls()  # the libraries of CUDA and cuDNN that pip installed
    told = {"device_id": str(gpu), "arena_extend_strategy": "kSameAsRequested"}
    try:
        return _made(graph, device, {**told, "enable_cuda_graph": "1"}), True
    except _NotThere:
        raise
    except Exception as error:  # what ONNX Runtime raises has no common class
        log.warning("%s is run without CUDA graphs: %s", graph.name, error)
        return _made(graph, device, told), False


class _NotThere(RuntimeError):
    """The provider did not load."""


def _made(graph: Path, device: str, told: Mapping[str, str]) -> InferenceSession:
    options = SessionOptions()
    options.log_severity_level = 3
    provider = _PROVIDERS[device]
    session = InferenceSession(str(graph), options, providers=[(provider, dict(told))])
    if provider not in session.get_providers():  # it only warns, and takes the CPU
        raise _NotThere(
            "ONNX Runtime's CUDA provider does not load: it needs CUDA 13, cuDNN 9 and a driver from 580 on. Run "
            "`pip install '.[gpu]'`; its own log says what is missing."
        )
    return session
