"""16-bit graphs keep the rules of NVIDIA's parser: replacements of what it rejects compute the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, numpy_helper
from torch import Tensor, nn

from bundle import files
from export import precisions
from export.errors import ExportError
from export.graphs import scales, to_16bit
from export.graphs.graph import ServedNetwork, to_onnx
from export.proving.reference_runs import onnx_probabilities
from export.proving.samples import generate


def silent(done: int, total: int) -> None:
    pass


class Activated(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.activation, self.fc = nn.Conv2d(3, 16, 3, 2), activation, nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.activation(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("activation", "kinds"), [(nn.Hardswish(), {"HardSigmoid"}), (nn.Mish(), {"Softplus", "Tanh"})]
)
def test_what_stands_for_an_activation_in_bfloat16_answers_like_it(activation: nn.Module, kinds: set[str]) -> None:
    torch.manual_seed(2)
    plain = to_onnx(ServedNetwork(Activated(activation), (128.0,) * 3, (64.0,) * 3).eval(), 32, 32)
    pixels = generate(32, 32)
    narrowed = to_16bit.to_16_bit(plain, "bf16")
    nodes = {node.op_type for node in onnx.load_from_string(narrowed).graph.node}
    assert nodes >= kinds and not nodes & {"HardSwish", "Mish"}
    expected = onnx_probabilities(plain, pixels, silent)
    found = onnx_probabilities(to_16bit.emulate(narrowed), pixels, silent)
    assert 0 < np.abs(found - expected).max() < 0.02
    assert np.abs(found - np.roll(expected, 1, 0)).max() > 0.05


TINY = "network.layer2.0.conv1.weight"


@pytest.fixture(scope="module")
def plain(demo: Path) -> bytes:
    """The demo with a convolution in which some channels have weights near 0, and one has only zeros."""
    model = onnx.load_from_string(files.read(demo).graph("fp32")[1].read_bytes())
    (weight,) = [row for row in model.graph.initializer if row.name == TINY]
    values = numpy_helper.to_array(weight).copy()
    values[:6] *= np.array([1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0], np.float32)[:, None, None, None]
    weight.CopyFrom(numpy_helper.from_array(values, TINY))
    return model.SerializeToString()


@pytest.mark.parametrize("precision", precisions.EIGHT_BIT)
def test_no_scale_is_0_and_tiny_weights_are_as_near_as_their_scale_allows(precision: str, plain: bytes) -> None:
    quantised = precisions.to_eight_bit(precision, plain, generate(64, 64)[:4], silent)
    model = onnx.load_from_string(to_16bit.to_16_bit(quantised, "fp16"))
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantising = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(held[node.input[1]].dtype == np.float16 and held[node.input[1]].min() > 0 for node in quantising)
    (node,) = [node for node in quantising if node.input[0].startswith(TINY)]
    scale = held[node.input[1]].astype(np.float32)[:, None, None, None]
    exact = {row.name: numpy_helper.to_array(row) for row in onnx.load_from_string(plain).graph.initializer}[TINY]
    error = np.abs(held[node.input[0]].astype(np.float32) * scale - exact)
    steps = 1.01 * scale + (np.abs(exact) / 15 if precision == "fp8" else 0)  # a half each time it is rounded
    assert (error <= steps).all()
    assert scale.min() == np.float32(2**-24)


def test_scales_that_fp16_has_leave_weights_as_they_are() -> None:
    weights = np.array([[-127, 5], [127, -128]], np.int8)
    found = quantised(weights, np.array([0.5, 2**-10], np.float32))
    assert np.array_equal(found, weights)


def test_a_scale_that_is_rounded_up_makes_the_weights_smaller_and_never_clips_them() -> None:
    weights = np.array([[-127, 5], [127, -3]], np.int8)
    found = quantised(weights, np.array([2**-24 * 1.4, 2**-24 * 0.01], np.float32))
    assert found.tolist() == [[-89, 4], [1, 0]]


def test_a_scale_that_is_too_large_for_fp16_is_refused(plain: bytes) -> None:
    quantised = onnx.load_from_string(precisions.to_eight_bit("int8-trt", plain, generate(64, 64)[:4], silent))
    scale = next(node.input[1] for node in quantised.graph.node if node.op_type == "QuantizeLinear")
    (tensor,) = [row for row in quantised.graph.initializer if row.name == scale]
    tensor.CopyFrom(numpy_helper.from_array(np.array(1e6, np.float32), scale))
    with pytest.raises(ExportError, match="too large for fp16"):
        to_16bit.to_16_bit(quantised.SerializeToString(), "fp16")


def quantised(weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The weights (outputs, inputs) after their scales are rounded to fp16."""
    node = onnx.helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["y"], axis=0)
    held = {"w": weights, "scale": scale, "zero": np.zeros(len(scale), np.int8)}
    tensors = [numpy_helper.from_array(values, name) for name, values in held.items()]
    graph = onnx.helper.make_graph([NodeProto.FromString(node.SerializeToString())], "one", [], [], tensors)
    scales.round_to_fp16(graph)
    return numpy_helper.to_array(graph.initializer[0])
