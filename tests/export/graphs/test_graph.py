"""Exported graphs keep the rules that NVIDIA's parser has in addition to ONNX's."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from export.graphs.graph import ServedNetwork, to_onnx
from export.proving.reference_runs import onnx_probabilities, torch_probabilities
from export.proving.samples import generate


class AskingForTheBatch(nn.Module):
    """A network whose graph needs the number of images: it adds a learned token to each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.token = nn.Parameter(torch.randn(1, 8, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x).flatten(2)
        return self.fc(torch.cat([self.token.expand(x.shape[0], -1, -1), features], 2).mean(2))


class Pooling(nn.Module):
    """A network with adaptive pooling and flattening, as most libraries have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.conv(x).relu()).flatten(1))


@pytest.mark.parametrize("network", [AskingForTheBatch, Pooling])
def test_a_cast_and_nothing_else_reads_the_pixels(network: type[nn.Module]) -> None:
    torch.manual_seed(1)
    served, pixels = ServedNetwork(network(), (128.0,) * 3, (64.0,) * 3).eval(), generate(32, 32)
    exported = to_onnx(served, 32, 32)
    nodes = onnx.load_from_string(exported).graph.node
    assert [node.op_type for node in nodes if "pixels" in node.input] == ["Cast"]
    silent = (lambda done, total: None,)
    found, expected = onnx_probabilities(exported, pixels, *silent), torch_probabilities(served, pixels, *silent)
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(found - np.roll(expected, 1, 0)).max() > 1e-4


def test_adaptive_pooling_is_a_mean_and_needs_no_indexes() -> None:
    exported = to_onnx(ServedNetwork(Pooling(), (128.0,) * 3, (64.0,) * 3).eval(), 32, 32)
    kinds = Counter(node.op_type for node in onnx.load_from_string(exported).graph.node)
    assert kinds["ReduceMean"] == 1
    assert not {"Gather", "Shape", "Range"} & set(kinds)
