"""ONNX Runtime on a GPU: the very code over its CPU provider, and what is asked of the provider that is not here."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bundle import files
from bundle.files import Bundle
from server import engines
from server.engines import ortcuda
from server.engines.ortcuda import OrtCudaEngine


@pytest.fixture(scope="module")
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


def test_rows_come_in_the_order_of_the_images_in_batches_of_every_size(bundle: Bundle) -> None:
    engine = OrtCudaEngine(bundle.graph("fp32")[1], 0, "fp32", 6, device="cpu")
    assert engines.check(engine, bundle.probe, 32).max_dp < 1e-4
    for images in (6, 1, 3, 5, 13):
        rows = engine.run(bundle.probe.pixels[:images])
        assert np.abs(rows - bundle.probe.probabilities[:images]).max() < 1e-4
    first = engine.run(bundle.probe.pixels[:1])
    engine.run(bundle.probe.pixels[1:2])
    assert np.abs(first - bundle.probe.probabilities[:1]).max() < 1e-4  # nobody writes into what was given away


class Sessions:
    """InferenceSession as on a machine with a GPU: it takes the CPU's provider, and notes what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, loads: bool = True, captures: bool = True) -> None:
        self.asked: list[dict[str, str]] = []
        self.graphs: list[str] = []
        real = ortcuda.InferenceSession

        def make(graph: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
            ((name, told),) = providers
            assert name == "CUDAExecutionProvider"
            self.asked.append(told)
            if not captures and told.get("enable_cuda_graph"):
                raise RuntimeError("a node is assigned to the CPU")
            session = real(graph, options, providers=["CPUExecutionProvider"])
            if loads:
                monkeypatch.setattr(session, "get_providers", lambda: [name, "CPUExecutionProvider"])
            return session

        graphs = self.graphs

        class Noted(onnxruntime.RunOptions):  # type: ignore[misc]
            def add_run_config_entry(self, key: str, value: str) -> None:
                graphs.append(f"{key}={value}")

        shaped = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        monkeypatch.setattr(ortcuda, "InferenceSession", make)
        monkeypatch.setattr(ortcuda, "RunOptions", Noted)
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)

        class Values:
            @staticmethod
            def ortvalue_from_shape_and_type(shape: Any, kind: Any, device: str, gpu: int) -> Any:
                assert (device, gpu) == ("cuda", 1)
                return shaped(shape, kind, "cpu", 0)

        monkeypatch.setattr(ortcuda, "OrtValue", Values)


def test_each_batch_size_is_a_cuda_graph_of_its_own(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch)
    engine = OrtCudaEngine(bundle.graph("fp32")[1], 1, "fp32", 4)
    assert sessions.asked == [{"device_id": "1", "arena_extend_strategy": "kSameAsRequested", "enable_cuda_graph": "1"}]
    assert sessions.graphs == ["gpu_graph_id=1", "gpu_graph_id=2", "gpu_graph_id=4"]
    assert np.abs(engine.run(bundle.probe.pixels[:3]) - bundle.probe.probabilities[:3]).max() < 1e-4


def test_where_part_of_a_network_would_run_on_the_cpu_nothing_is_captured(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions(monkeypatch, captures=False)
    OrtCudaEngine(bundle.graph("fp32")[1], 1, "fp32", 2)
    assert ["enable_cuda_graph" in told for told in sessions.asked] == [True, False]
    assert sessions.graphs == []
    assert "without CUDA graphs: a node is assigned to the CPU" in caplog.text


def test_a_provider_that_does_not_load_is_no_engine(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime itself would go on, on the CPU, with no more than a warning."""
    sessions = Sessions(monkeypatch, loads=False)
    with pytest.raises(RuntimeError, match=r"does not load.*pip install '\.\[gpu\]'"):
        OrtCudaEngine(bundle.graph("fp32")[1], 1, "fp32", 2)
    assert len(sessions.asked) == 1


def test_the_package_without_cuda_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "pip install '.[gpu]'" in ortcuda.unavailable()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert ortcuda.unavailable() == ""
