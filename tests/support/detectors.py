"""Detectors: torchvision's Faster R-CNN with a feature pyramid, over any body that gives maps."""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support import oracles

Body = Callable[[Tensor], Sequence[Tensor]]
"""Takes normalised images (n, 3, height, width) and gives maps, fine ones first, (n, channels, rows, columns) each."""


class Pyramid(nn.Module):
    """A body with torchvision's feature pyramid over its maps; the backbone of a detector."""

    out_channels = 32

    def __init__(self, body: Body, outputs: list[str], channels: list[int]) -> None:
        super().__init__()
        self.body = [body]  # in a list, so that torch does not take a network for a part of this one
        self.outputs = outputs
        self.pyramid = importlib.import_module("torchvision.ops").FeaturePyramidNetwork(channels, self.out_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.pyramid(dict(zip(self.outputs, self.body[0](images), strict=True)))
        return maps


def faster_rcnn(pyramid: Pyramid, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    """A detector of four classes for photos of 128 to 192 pixels, with random weights.

    `mean` and `std` are on the scale 0..1. Its weights are large, so that scores and boxes depend on the maps.
    """
    detection = importlib.import_module("torchvision.models.detection")
    anchors = importlib.import_module("torchvision.models.detection.anchor_utils").AnchorGenerator
    levels = len(pyramid.outputs)
    detector = detection.FasterRCNN(
        pyramid,
        num_classes=5,
        min_size=128,
        max_size=192,
        image_mean=list(mean),
        image_std=list(std),
        rpn_anchor_generator=anchors(tuple((16 << level,) for level in range(levels)), ((0.5, 1.0, 2.0),) * levels),
        box_roi_pool=importlib.import_module("torchvision.ops").MultiScaleRoIAlign(pyramid.outputs, 7, 2),
        rpn_post_nms_top_n_test=50,
        box_detections_per_img=20,
    ).eval()
    with torch.no_grad():
        for head in (detector.rpn.head, detector.roi_heads.box_predictor):
            for name, weights in head.named_parameters():
                weights.mul_(10 if name.endswith("weight") else 1)
    return detector


def use_python_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torchvision's compiled operators do not fit this torch build, run what it computes without them."""
    oracles.torchvision()
    importlib.import_module("torchvision.models.detection")
    if importlib.import_module("torchvision.extension")._has_ops():
        return
    boxes, align = sys.modules["torchvision.ops.boxes"], sys.modules["torchvision.ops.roi_align"]
    monkeypatch.setattr(boxes, "nms", _nms)
    monkeypatch.setattr(align, "_roi_align", align._roi_align.__wrapped__)  # not compiled, which takes a minute


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: the best box, then the best that does not overlap a kept one, and so on."""
    overlaps = importlib.import_module("torchvision.ops").box_iou(boxes, boxes) > iou_threshold
    kept: list[int] = []
    for candidate in scores.argsort(descending=True, stable=True).tolist():
        if not overlaps[candidate, kept].any():
            kept.append(candidate)
    return torch.tensor(kept, dtype=torch.int64)
