"""A detector over the maps in ONNX finds the boxes that it finds over the torch network."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from export.features import maps_graph
from tests.conftest import REPOSITORY
from tests.export.features.conftest import SHEET, backbone
from tests.support import detectors, oracles

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOLERANCE_PIXELS = 0.01
"""Maps differ by 1e-5, and boxes of up to 192 pixels follow them through a few layers with large weights."""


def onnx_body(model: bytes) -> detectors.Body:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def body(images: Tensor) -> Sequence[Tensor]:
        return [torch.from_numpy(one) for one in session.run(None, {maps_graph.INPUT: images.numpy()})]

    return body


def largest_difference(ours: list[dict[str, Tensor]], theirs: list[dict[str, Tensor]]) -> float:
    """In pixels; infinite where number, classes or order of the boxes differ."""
    pairs = list(zip(ours, theirs, strict=True))
    if not all(torch.equal(one["labels"], other["labels"]) for one, other in pairs):
        return float("inf")
    return max((one["boxes"] - other["boxes"]).abs().max().item() for one, other in pairs)


def test_faster_rcnn_finds_the_same_boxes_over_onnx_and_over_torch(
    honest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    detectors.use_python_operators(monkeypatch)
    network = backbone()
    torch.manual_seed(1)
    pyramid = detectors.Pyramid(network, network.outputs, [row.channels for row in SHEET.maps])
    detector = detectors.faster_rcnn(pyramid, MEAN, STD)
    photos = [torch.rand(3, 140, 180), torch.rand(3, 150, 130).round()]
    with torch.inference_mode():
        expected = detector(photos)
        pyramid.body = [onnx_body(honest)]
        found = detector(photos)
        pyramid.body = [onnx_body(spoilt(honest))]
        wrong = detector(photos)
    assert [len(one["boxes"]) for one in expected] == [20, 20]
    assert largest_difference(expected, found) < TOLERANCE_PIXELS
    assert largest_difference(expected, wrong) > TOLERANCE_PIXELS


def test_the_detector_in_the_guide_reads_the_maps(
    honest: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracles.torchvision()
    (guide,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/detectors.md").read_text(), re.DOTALL)
    (tmp_path / "seresnet50.onnx").write_bytes(honest)
    monkeypatch.chdir(tmp_path)
    told: dict[str, Any] = {}
    exec(guide, told)
    assert told["detector"].transform.image_mean == pytest.approx(MEAN)
    assert told["detector"].transform.image_std == pytest.approx(STD)
    with torch.inference_mode():
        maps = told["backbone"](torch.randn(2, 3, 64, 96))
    assert {name: tuple(one.shape) for name, one in maps.items()} == {
        f"c{stage}": (2, 256, 64 >> stage, 96 >> stage) for stage in (2, 3, 4, 5)
    }


def spoilt(model: bytes) -> bytes:
    """The graph with a gate of one SE block open."""
    graph = onnx.load_from_string(model)
    gate = next(node for node in graph.graph.node if node.name == "layer4.0/se/Sigmoid")
    gate.op_type = "Relu"
    return graph.SerializeToString()
