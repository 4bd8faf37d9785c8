"""Outlined SE blocks give the same answers as the plain graph, and keep the rules of TensorRT's parser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import inliner
from torch import nn

from bundle import files, parity
from bundle.files import Bundle
from export import precisions
from export.graphs import to_16bit
from export.graphs.graph import ServedNetwork, to_onnx
from export.graphs.se_functions import DOMAIN, outline
from export.proving import reference_runs
from export.proving.samples import generate
from models.architectures import seresnet
from models.networks.se import block_name, se_modules
from models.networks.semobilenet import SE_MOBILENET
from tests.support import oracles
from tests.support.reference_networks import distinct, seeded

KNOWN = {"SEGate": 5, "SEScale": 2, "SEScaleAddRelu": 3}


def silent(done: int, total: int) -> None:
    pass


def exported(network: nn.Module, size: int) -> tuple[bytes, list[str]]:
    served = ServedNetwork(network, (128.0,) * 3, (64.0,) * 3).eval()
    return to_onnx(served, size, size), [block_name(name) for name, _, _ in se_modules(network)]


@pytest.fixture(scope="module")
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


@pytest.fixture(scope="module")
def blocks(bundle: Bundle) -> list[str]:
    return [row.name for row in bundle.manifest.architecture.se_blocks]


@pytest.fixture(scope="module", params=["fp32", "fp16", "bf16", "int8-trt", "fp8"])
def precision(request: pytest.FixtureRequest) -> str:
    """Each precision that GPUs run."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(precision: str, bundle: Bundle) -> bytes:
    plain = bundle.graph("fp32")[1].read_bytes()
    if precision == "fp32":
        return plain
    if precision in ("int8-trt", "fp8"):
        return to_16bit.to_16_bit(precisions.to_eight_bit(precision, plain, bundle.probe.pixels, silent), "fp16")
    return to_16bit.to_16_bit(plain, precision)


def answers(model: bytes, precision: str, bundle: Bundle) -> np.ndarray:
    """The answers of ONNX Runtime; for bfloat16, which it does not support, of OpenVINO with inlined functions."""
    if precision != "bf16":
        return reference_runs.onnx_probabilities(
            model, bundle.probe.pixels, silent, simulated=precision in precisions.EIGHT_BIT
        )
    if not reference_runs.openvino_supports("bf16"):
        pytest.skip("needs OpenVINO and a CPU with bfloat16")
    inlined = inliner.inline_local_functions(onnx.load_from_string(model)).SerializeToString()
    return reference_runs.openvino_probabilities(inlined, bundle.probe.pixels, "bf16")


def test_every_block_of_the_demo_becomes_two_functions_in_every_precision(
    model: bytes, precision: str, bundle: Bundle, blocks: list[str]
) -> None:
    outlined = outline(model, blocks)
    assert (outlined.blocks, outlined.skipped) == (tuple(blocks), ())
    kinds = [node.op_type for node in onnx.load_from_string(outlined.model).graph.node if node.domain == DOMAIN]
    assert kinds == ["SEGate", "SEScaleAddRelu"] * len(blocks)
    found, expected = answers(outlined.model, precision, bundle), answers(model, precision, bundle)
    assert parity.compare(expected, found).passes(precision)
    assert not parity.compare(expected, np.roll(found, 1, 0)).passes(precision)


def test_the_rules_of_tensorrts_parser(model: bytes, blocks: list[str]) -> None:
    """Names unlike any operator's, as many inputs as functions have, no constants of a type, and attributes that find
    a plugin."""
    outlined = onnx.load_from_string(outline(model, blocks).model)
    functions = {function.name: function for function in outlined.functions}
    assert set(functions) == {"SEGate", "SEScaleAddRelu"}
    for name, function in functions.items():
        assert not any(onnx.defs.has(name, domain) for domain in ("", "ai.onnx.ml"))
        assert set(function.attribute) == {"plugin_namespace", "plugin_version"}
        assert not any(node.op_type in ("Constant", "Cast") for node in function.node)
        assert {row.domain for row in function.opset_import} == {"", DOMAIN}
    for node in outlined.graph.node:
        if node.domain == DOMAIN:
            told = {item.name: item.s for item in node.attribute}
            assert told == {"plugin_namespace": DOMAIN.encode(), "plugin_version": b"1"}
            assert len(node.input) == len(functions[node.op_type].input) == KNOWN[node.op_type]
            assert all(node.input)


@pytest.mark.parametrize(
    ("network", "size", "functions"),
    [
        (lambda: seresnet(18, classes=20, se_bias=False).build(), 96, {"SEGate": 8, "SEScaleAddRelu": 8}),
        (lambda: SE_MOBILENET.design(classes=20).build(), 96, {"SEGate": 13, "SEScale": 13}),
    ],
    ids=["without biases", "semobilenet"],
)
def test_other_networks(network: Callable[[], nn.Module], size: int, functions: dict[str, int]) -> None:
    images = torch.from_numpy(generate(size, size)).permute(0, 3, 1, 2).float() / 64 - 2
    model, blocks = exported(distinct(seeded(network), images[:4]), size)
    outlined = outline(model, blocks)
    assert outlined.skipped == ()
    kinds = [node.op_type for node in onnx.load_from_string(outlined.model).graph.node if node.domain == DOMAIN]
    assert {kind: kinds.count(kind) for kind in kinds} == functions
    pixels = generate(size, size)[:4]
    expected = reference_runs.onnx_probabilities(model, pixels, silent)
    found = reference_runs.onnx_probabilities(outlined.model, pixels, silent)
    assert parity.compare(expected, found).passes()
    assert not parity.compare(expected, np.roll(found, 1, 0)).passes()


def pooled(model: bytes) -> dict[str, bool]:
    """For each block: whether a node of the graph pools the map before its SEGate."""
    graph = onnx.load_from_string(model).graph
    pools = {node.output[0] for node in graph.node if node.op_type == "ReduceMean"}
    gates = [node for node in graph.node if node.op_type == "SEGate"]
    return {node.name.removesuffix("/se/SEGate"): node.input[0] in pools for node in gates}


def test_large_maps_are_pooled_before_the_function_in_every_precision(
    model: bytes, precision: str, bundle: Bundle, blocks: list[str]
) -> None:
    """The demo's maps: 32 x 32 pixels in layer1, and half as wide in each layer after."""
    limit = 8 * 8
    outlined = outline(model, blocks, pooled_above=limit)
    assert outlined.blocks == tuple(blocks)
    assert pooled(outlined.model) == {block: block.startswith(("layer1", "layer2")) for block in blocks}
    found, expected = answers(outlined.model, precision, bundle), answers(model, precision, bundle)
    assert parity.compare(expected, found).passes(precision)
    assert not parity.compare(expected, np.roll(found, 1, 0)).passes(precision)


def test_no_limit_leaves_no_pool_and_0_leaves_every_one(bundle: Bundle, blocks: list[str]) -> None:
    plain = bundle.graph("fp32")[1].read_bytes()
    assert set(pooled(outline(plain, blocks).model).values()) == {False}
    assert set(pooled(outline(plain, blocks, pooled_above=0).model).values()) == {True}
    assert set(pooled(outline(plain, blocks, pooled_above=32 * 32).model).values()) == {False}


def test_maps_of_unknown_size_are_pooled_before_the_function(bundle: Bundle, blocks: list[str]) -> None:
    unknown = onnx.load_from_string(bundle.graph("fp32")[1].read_bytes())
    for axis in (1, 2):
        unknown.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"size{axis}"
    del unknown.graph.value_info[:]
    outlined = outline(unknown.SerializeToString(), blocks, pooled_above=32 * 32)
    assert pooled(outlined.model) == dict.fromkeys(blocks, True)


def dispatched(node: onnx.NodeProto, plugins: set[tuple[str, str, str]], functions: set[str], override: bool) -> str:
    """TensorRT's rule since 10.15, `parseNode` of onnx-tensorrt: by the operator's name, whatever its domain."""
    told = {item.name: item.s.decode() for item in node.attribute if item.type == onnx.AttributeProto.STRING}
    asked = (node.op_type, told.get("plugin_version", "1"), told.get("plugin_namespace", ""))
    if ("plugin_namespace" in told or override) and asked in plugins:
        return "plugin"
    if onnx.defs.has(node.op_type):
        return "operator"
    if node.op_type in functions:
        return "function"
    return "plugin" if not override and "plugin_namespace" not in told and asked in plugins else "unsupported"


def test_the_parser_takes_a_registered_plugin_and_otherwise_the_function(model: bytes, blocks: list[str]) -> None:
    outlined = onnx.load_from_string(outline(model, blocks).model)
    functions = {function.name for function in outlined.functions}
    plugins = {(name, "1", DOMAIN) for name in KNOWN}
    for override in (False, True):
        kinds = {node.op_type: dispatched(node, plugins, functions, override) for node in outlined.graph.node}
        assert {name for name, kind in kinds.items() if kind == "plugin"} == functions
        assert "unsupported" not in kinds.values()
        alone = {node.op_type: dispatched(node, set(), functions, override) for node in outlined.graph.node}
        assert alone == {name: "function" if name in functions else kind for name, kind in kinds.items()}
    nameless = next(node for node in outlined.graph.node if node.op_type == "SEGate")
    del nameless.attribute[:]
    assert dispatched(nameless, plugins, functions, False) == "function"


def test_hard_sigmoids_are_left_as_they_are() -> None:
    timm = oracles.timm()
    model, blocks = exported(seeded(lambda: timm.create_model("mobilenetv3_small_100", num_classes=20)), 64)
    outlined = outline(model, blocks)
    assert (outlined.blocks, outlined.skipped) == ((), tuple(blocks))
    assert outlined.model == onnx.load_from_string(model).SerializeToString(deterministic=True)


def test_what_looks_like_a_gate_and_strides_is_left_as_it_is(bundle: Bundle, blocks: list[str]) -> None:
    model = onnx.load_from_string(bundle.graph("fp32")[1].read_bytes())
    inside = [node for node in model.graph.node if node.name.startswith(f"{blocks[0]}/se/")]
    node = next(node for node in inside if node.op_type == "Conv")
    kept = [item for item in node.attribute if item.name != "strides"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("strides", [2, 2])])
    assert outline(model.SerializeToString(), blocks).skipped == (blocks[0],)
