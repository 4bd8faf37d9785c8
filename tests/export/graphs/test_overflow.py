"""INT8 graphs are computed exactly by x86 CPUs without VNNI, which add two products in 16 bits that saturate.

What the tests need of the machine: those of the arithmetic and of the exporter nothing, OpenVINO held to AVX2 an x86-64
with AVX2 or more, ONNX Runtime an x86-64 and qemu-user 7.2 or newer. Elsewhere these two skip.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundle import files
from bundle.files import Bundle
from bundle.images import Pixels
from bundle.overflow import LARGEST_WEIGHT
from bundle.predictions import Probabilities
from export import precisions
from export.graphs import int8
from export.progress import Progress
from export.proving import reference_runs
from export.proving.accuracy_gate import GatePhotos
from tests.support import without_vnni

_LIMIT_S = 300.0
_EIGHT_BITS = dataclasses.replace(int8.FOR_CPUS, seven_bits=False)
"""The rules of older versions: the planted fault."""


def silent(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


@pytest.fixture(scope="module")
def seven_bits(bundle: Bundle) -> bytes:
    return int8.to_int8(bundle.graph("fp32")[1].read_bytes(), bundle.probe.pixels, silent)


@pytest.fixture(scope="module")
def eight_bits(bundle: Bundle) -> bytes:
    return int8.to_int8(bundle.graph("fp32")[1].read_bytes(), bundle.probe.pixels, silent, _EIGHT_BITS)


def vpmaddubsw(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.int16]:
    """As Intel defines it: products of neighbours along the last axis, added in 16 bits that saturate."""
    products = activations.astype(np.int32) * weights.astype(np.int32)
    sums: NDArray[np.int32] = products[..., ::2] + products[..., 1::2]
    return sums.clip(-32768, 32767).astype(np.int16)


def dot(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    """The sum with `vpmaddubsw`, whose results are added in 32 bits."""
    return np.sum(vpmaddubsw(activations, weights), axis=-1, dtype=np.int32)


def exact(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.int32]:
    sums: NDArray[np.int32] = np.sum(activations.astype(np.int32) * weights, axis=-1, dtype=np.int32)
    return sums


def every_pair(largest: int) -> NDArray[np.int8]:
    """All pairs of weights of at most that magnitude."""
    weights = np.arange(-largest, largest + 1, dtype=np.int8)
    return np.stack(np.meshgrid(weights, weights), -1)


@pytest.mark.parametrize("activations", [(0, 0), (0, 255), (255, 0), (255, 255)])
def test_no_pair_of_weights_in_7_bits_overflows(activations: tuple[int, int]) -> None:
    """Sums are linear in each activation, so the ends of the range cover all values between."""
    both = np.array(activations, np.uint8)
    weights = every_pair(LARGEST_WEIGHT)
    assert np.array_equal(dot(both, weights), exact(both, weights))


def test_one_more_would_overflow() -> None:
    both = np.array([255, 255], np.uint8)
    weights = every_pair(LARGEST_WEIGHT + 1)
    wrong = dot(both, weights) != exact(both, weights)
    assert {tuple(sorted(np.abs(pair).tolist())) for pair in weights[wrong]} == {(64, 65), (65, 65)}


def test_the_demos_layers_overflow_with_8_bits_and_never_with_7(
    bundle: Bundle, eight_bits: bytes, seven_bits: bytes
) -> None:
    wrong8, wrong7 = (overflowing_layers(graph, bundle.probe.pixels[:4]) for graph in (eight_bits, seven_bits))
    assert len(wrong8) == len(wrong7) >= 16
    assert max(wrong8.values()) > 0.01
    assert set(wrong7.values()) == {0.0}


def overflowing_layers(model: bytes, pixels: Pixels) -> dict[str, float]:
    """Of each quantised convolution: the share of its outputs, at one of the window's places, that the oracle gets
    wrong from the activations that it has on these images."""
    graph = onnx.load_from_string(model).graph
    made = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = {}
    for node in graph.node:
        restored = [made.get(name) for name in node.input[:2]]
        if node.op_type == "Conv" and all(other and other.op_type == "DequantizeLinear" for other in restored):
            activation, weight = (other.input[0] for other in restored if other)
            pairs[node.name] = activation, constants[weight]
    found = quantised_activations(model, sorted({name for name, _ in pairs.values()}), pixels)
    return {node: wrong_share(found[name], weights) for node, (name, weights) in pairs.items()}


def wrong_share(activations: NDArray[np.uint8], weights: NDArray[np.int8]) -> float:
    """`activations` (n, channels, h, w), `weights` (outputs, channels, h, w)."""
    channels = activations.shape[1] // 2 * 2
    places = np.moveaxis(activations[:, :channels], 1, -1).reshape(-1, 1, channels)[::16]
    wrong = [
        dot(places, window) != exact(places, window)
        for window in np.moveaxis(weights[:, :channels], 1, -1).reshape(len(weights), -1, channels).swapaxes(0, 1)
    ]
    return float(np.mean(wrong)) if channels else 0.0


def quantised_activations(model: bytes, names: list[str], pixels: Pixels) -> dict[str, NDArray[np.uint8]]:
    loaded = onnx.load_from_string(model)
    loaded.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # all tensors are there
    session = onnxruntime.InferenceSession(loaded.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))


def test_the_exporter_writes_7_bits_for_cpus_and_8_for_tensorrt(
    bundle: Bundle, seven_bits: bytes, eight_bits: bytes
) -> None:
    around_zero = int8.to_int8(bundle.graph("fp32")[1].read_bytes(), bundle.probe.pixels[:8], silent, int8.FOR_TENSORRT)
    assert int8.largest_weight(seven_bits) == LARGEST_WEIGHT
    assert int8.largest_weight(eight_bits) == int8.largest_weight(around_zero) == 127


def test_a_graph_that_other_cpus_compute_otherwise_is_refused_whatever_this_one_says(
    bundle: Bundle, eight_bits: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "to_int8", lambda model, pixels, advance: eight_bits)
    pixels, answers = bundle.probe.pixels, bundle.probe.probabilities
    photos = GatePhotos(pixels, pixels, None)
    (outcome,) = precisions.add_precisions(("int8",), bundle.graph("fp32")[1].read_bytes(), photos, answers, Progress())
    assert isinstance(outcome, precisions.RefusedPrecision)
    assert "Its weights reach 127; above 64 their sums overflow on CPUs without VNNI" in outcome.report


def on_openvino(model: bytes, pixels: Pixels) -> Probabilities:
    pytest.importorskip("openvino")
    return reference_runs.openvino_probabilities(model, pixels, "int8")


def on_onnxruntime(model: bytes, pixels: Pixels) -> Probabilities:
    return reference_runs.onnx_probabilities(model, pixels, silent)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        pytest.param(on_openvino, without_vnni.openvino_probabilities, id="openvino"),
        pytest.param(on_onnxruntime, without_vnni.onnxruntime_probabilities, id="onnxruntime"),
    ],
)
def test_a_cpu_without_vnni_answers_as_this_one_with_7_bits_and_otherwise_with_8(
    here: Callable[[bytes, Pixels], Probabilities],
    there: Callable[[bytes, Pixels, float], Probabilities],
    bundle: Bundle,
    seven_bits: bytes,
    eight_bits: bytes,
) -> None:
    pixels = bundle.probe.pixels[:12]  # half a second each under qemu
    answers = here(seven_bits, pixels)
    try:
        kept, spoilt = (there(graph, pixels, _LIMIT_S) for graph in (seven_bits, eight_bits))
    except without_vnni.NoEmulation as reason:
        pytest.skip(str(reason))
    assert np.abs(kept - answers).max() < 0.02  # float sums differ, and round an activation otherwise now and then
    assert np.abs(spoilt - answers).max() > 0.1
