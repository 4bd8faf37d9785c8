"""ONNX Runtime on a GPU: the same code over the CPU's provider, and over a stand-in for what only CUDA does."""

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest

from bundle import files
from bundle.files import Bundle
from server.engines import onnxruntime_cuda, probe_check
from server.engines.engine import EngineFailed, Overlapping
from server.engines.onnxruntime_cuda import OrtCudaEngine
from tests.support.faces import choose

CUDA = "CUDAExecutionProvider"


@pytest.fixture
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


def on_cpu(bundle: Bundle, max_batch: int) -> OrtCudaEngine:
    return OrtCudaEngine(bundle.graph("fp32")[1], 0, "fp32", max_batch, _device="cpu")


@pytest.mark.parametrize("max_batch", [1, 5, 8])
def test_every_number_of_images_is_answered_in_order_as_torch_did(bundle: Bundle, max_batch: int) -> None:
    engine, probe = on_cpu(bundle, max_batch), bundle.probe
    assert probe_check.check(engine, probe, max_batch).images == 32
    for images in range(1, max_batch + 1):
        rows = engine.run(probe.pixels[-images:])
        assert rows.shape == (images, 200)
        assert np.abs(rows - probe.probabilities[-images:]).max() < 1e-4
    with pytest.raises(ValueError, match="empty"):  # no size is large enough
        engine.run(probe.pixels[: max_batch + 1])


def test_what_filled_up_a_batch_before_changes_nothing(bundle: Bundle) -> None:
    engine, pixels = on_cpu(bundle, 4), bundle.probe.pixels
    fresh = engine.run(pixels[:3])
    engine.run(pixels[4:8])
    engine.run(pixels[8:11])
    assert (engine.run(pixels[:3]) == fresh).all()


def test_rows_stay_as_they_are_when_the_next_batch_is_run(bundle: Bundle) -> None:
    engine, pixels = on_cpu(bundle, 2), bundle.probe.pixels
    first = engine.run(pixels[:2])
    kept = first.copy()
    engine.run(pixels[2:4])
    assert (first == kept).all()


def test_batches_are_taken_ahead_and_answered_in_order(bundle: Bundle) -> None:
    engine, pixels = on_cpu(bundle, 4), bundle.probe.pixels
    assert isinstance(engine, Overlapping)
    waiting = [engine.start(pixels[at : at + 3]) for at in range(0, 30, 3)]
    rows = np.concatenate([rows() for rows in reversed(waiting)][::-1])
    assert np.abs(rows - choose(bundle).engine.run(pixels[:30])).max() < 1e-5


def test_an_onnx_runtime_for_cpus_alone_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in onnxruntime_cuda.why_not()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    assert onnxruntime_cuda.why_not() == ""


class Cuda:
    """A session as on a GPU: every call with its thread; answers each image with its first byte."""

    loads: ClassVar[bool] = True
    captures: ClassVar[str] = ""  # why not, at the session's creation or at its first run
    made: ClassVar[list["Cuda"]]

    def __init__(self, path: str, options: object, providers: list[tuple[str, dict[str, Any]]], **kwargs: int) -> None:
        ((self.provider, self.settings),) = providers
        self.kwargs = kwargs
        self.runs: list[tuple[str, int, int]] = []  # graph, images, thread
        self.made.append(self)
        self.refuse("creation")

    def refuse(self, when: str) -> None:
        if self.captures == when and "enable_cuda_graph" in self.settings:
            raise RuntimeError("a node is not on the GPU")

    def get_providers(self) -> list[str]:
        return [CUDA, "CPUExecutionProvider"] if self.loads else ["CPUExecutionProvider"]

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(shape=["batch", 2, 2, 3])]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(shape=["batch", 1])]

    def io_binding(self) -> SimpleNamespace:
        binding = SimpleNamespace(bound={})
        binding.bind_ortvalue_input = binding.bind_ortvalue_output = binding.bound.__setitem__
        return binding

    def run_with_iobinding(self, binding: SimpleNamespace, options: "RunOptions") -> None:
        self.refuse("run")
        pixels, rows = binding.bound["pixels"], binding.bound["probabilities"]
        assert pixels.where == rows.where == ("cuda", self.settings["device_id"])
        self.runs.append((options.entries["gpu_graph_id"], len(pixels.data), threading.get_ident()))
        rows.data[:, 0] = pixels.data[:, 0, 0, 0]


class Value:
    """A buffer on a GPU, which stays where it is."""

    def __init__(self, shape: tuple[int, ...], kind: type, where: tuple[str, int]) -> None:
        self.data: np.ndarray[Any, Any] = np.zeros(shape, kind)
        self.where = where

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape: tuple[int, ...], kind: type, device: str, gpu: int) -> "Value":
        return cls(shape, kind, (device, gpu))

    def update_inplace(self, data: np.ndarray[Any, Any]) -> None:
        assert data.shape == self.data.shape
        self.data[:] = data

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.data


class RunOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> type[Cuda]:
    class Fresh(Cuda):
        made: ClassVar[list[Cuda]] = []

    for name, stand_in in (("InferenceSession", Fresh), ("OrtValue", Value), ("RunOptions", RunOptions)):
        monkeypatch.setattr(onnxruntime_cuda, name, stand_in)
    return Fresh


def numbered(*numbers: int) -> np.ndarray[Any, Any]:
    return np.stack([np.full((2, 2, 3), number, np.uint8) for number in numbers])


def test_each_size_has_a_graph_of_its_own_captured_largest_first_and_replayed_by_one_thread(cuda: type[Cuda]) -> None:
    engine = OrtCudaEngine(Path("model.onnx"), 3, "fp16", 6)
    (session,) = cuda.made
    assert [run[:2] for run in session.runs] == [("6", 6), ("4", 4), ("2", 2), ("1", 1)]
    assert engine.run(numbered(7, 8, 9))[:, 0].tolist() == [7, 8, 9]
    assert engine.run(numbered(1))[:, 0].tolist() == [1]
    assert [run[:2] for run in session.runs[4:]] == [("4", 4), ("1", 1)]
    assert len({thread for *_, thread in session.runs} - {threading.get_ident()}) == 1
    assert (session.provider, session.kwargs) == (CUDA, {"enable_fallback": 0})
    assert session.settings == {
        "device_id": 3,
        "enable_cuda_graph": 1,
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": 0,
    }


@pytest.mark.parametrize("when", ["creation", "run"])
def test_what_cannot_be_captured_is_run_without_graphs_and_the_reason_told(
    when: str, cuda: type[Cuda], caplog: pytest.LogCaptureFixture
) -> None:
    cuda.captures = when
    engine = OrtCudaEngine(Path("model.onnx"), 0, "fp32", 2)
    assert engine.run(numbered(5))[:, 0].tolist() == [5]
    assert "enable_cuda_graph" not in cuda.made[-1].settings
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "model.onnx runs without CUDA graphs: a node is not on the GPU"
    ]


def test_a_provider_that_was_not_loaded_is_an_error_with_the_cure_and_no_engine_on_the_cpu(cuda: type[Cuda]) -> None:
    cuda.loads = False
    with pytest.raises(EngineFailed, match=r"could not load CUDA: run `pip install 'onnxruntime-gpu"):
        OrtCudaEngine(Path("model.onnx"), 0, "fp32", 2)
    assert len(cuda.made) == 1
