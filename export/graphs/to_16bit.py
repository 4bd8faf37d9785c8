"""16 bit: converts a graph to fp16 or bf16 between normalisation and softmax, for GPUs."""

from collections.abc import Container, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper, version_converter

from bundle.graph import INPUT, OUTPUT
from export.errors import ExportError
from export.graphs import scales
from export.graphs.surgery import replace_nodes, serialize, set_values

OPSET = {"fp16": 20, "bf16": 22}
"""ONNX has convolutions and pools of bfloat16 from opset 22 on."""

_NORMALISING = ("Cast", "Transpose", "Sub", "Div")  # what `ServedNetwork` does before the network
_TYPES = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}
_CAST = "narrow"
"""The name of the node that converts the normalised pixels to 16 bit."""

_DECOMPOSED: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "HardSwish": (("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),),
    "Mish": (("Softplus", {}), ("Tanh", {})),
}
"""Activations that TensorRT does not accept in bfloat16. Each is x times these functions, applied to x one after the
other, which it does accept."""


def to_16_bit(model: bytes, precision: str) -> bytes:
    """The fp32 graph in "fp16" or "bf16". Pixels are normalised, and the softmax is computed, in float32 as before.

    Batch norms are already folded into the weights, so each weight is rounded once. Raises ExportError where a weight
    is too large for fp16.
    """
    kind, numbers = _TYPES[precision]
    converted = version_converter.convert_version(onnx.load_from_string(model), OPSET[precision])
    graph = converted.graph
    if precision == "bf16":
        _decompose_activations(graph)
    else:
        scales.round_to_fp16(graph)
    normalising = _normalising(graph.node)
    _convert_weights(graph, {name for node in normalising for name in node.input}, precision, numbers)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.output[0] == OUTPUT:
            nodes.append(helper.make_node("Cast", node.input, ["logits"], "logits", to=TensorProto.FLOAT))
            node.input[0] = "logits"
        nodes.append(node)
        if node == normalising[-1]:
            nodes.append(helper.make_node("Cast", ["normalised"], node.output, _CAST, to=kind))
            node.output[0] = "normalised"
    replace_nodes(graph, nodes)
    del graph.value_info[:]
    return serialize(converted)


def _convert_weights(graph: GraphProto, kept: Container[str], precision: str, numbers: DTypeLike) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            values = numpy_helper.to_array(tensor)
            if precision == "fp16" and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise ExportError(f"The weights {tensor.name} are too large for fp16: use bf16.")
            set_values(tensor, values.astype(numbers))


def _decompose_activations(graph: GraphProto) -> None:
    nodes: list[NodeProto] = []
    for node in graph.node:
        result = x = node.input[0] if node.input else ""
        for kind, attributes in _DECOMPOSED.get(node.op_type, ()):
            step = helper.make_node(kind, [result], [f"{node.output[0]}.{kind}"], f"{node.name}/{kind}", **attributes)
            nodes.append(step)
            result = step.output[0]
        if node.op_type in _DECOMPOSED:
            node = helper.make_node("Mul", [x, result], node.output, f"{node.name}/Mul")
        nodes.append(node)
    replace_nodes(graph, nodes)


def _normalising(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The chain of nodes between the pixels and the network."""
    found: list[NodeProto] = []
    for node in nodes:
        if node.input and node.input[0] == (found[-1].output[0] if found else INPUT) and node.op_type in _NORMALISING:
            found.append(node)
    return found


def emulate(model: bytes) -> bytes:
    """A 16-bit graph as a float32 graph that rounds each result to 16 bit and so gives the same answers.

    For a runtime without 16-bit arithmetic, which would silently compute in float32 and hide overflow and rounding.
    """
    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    inferred = onnx.shape_inference.infer_shapes(loaded).graph.value_info
    kind = next(item.i for node in graph.node if node.name == _CAST for item in node.attribute)
    results = {value.name for value in inferred if value.type.tensor_type.elem_type == kind}
    for tensor in graph.initializer:
        if tensor.data_type == kind:
            set_values(tensor, numpy_helper.to_array(tensor).astype(np.float32))
    nodes: list[NodeProto] = []
    for node in graph.node:
        result = node.output[0]
        if result not in results:
            nodes.append(node)
            continue
        if node.name != _CAST:
            node.output[0] = f"{result}.exact"
            nodes.append(node)
            node = helper.make_node("Cast", node.output, [f"{result}.narrow"], f"{result}/round", to=kind)
        else:
            node.output[0] = f"{result}.narrow"
        nodes.append(node)
        nodes.append(helper.make_node("Cast", [f"{result}.narrow"], [result], to=TensorProto.FLOAT))
    replace_nodes(graph, nodes)
    return bytes(loaded.SerializeToString())
