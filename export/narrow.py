"""Narrow: a graph with everything between normalisation and softmax in 16 bit, as GPUs want it."""

from collections.abc import Container, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper, version_converter

from export import scales
from export.errors import ExportError
from export.graph import INPUT, OUTPUT

OPSET = {"fp16": 20, "bf16": 22}
"""ONNX knows convolutions and pools of bfloat16 from opset 22 on."""

_NORMALISING = ("Cast", "Transpose", "Sub", "Div")  # what `ServedNetwork` does before the network
_TYPES = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}

_SPELT_OUT: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "HardSwish": (("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),),
    "Mish": (("Softplus", {}), ("Tanh", {})),
}
"""Activations that TensorRT does not take in bfloat16: x times these functions of x, one after the other, which it
does."""


def to_16_bit(model: bytes, precision: str) -> bytes:
    """The fp32 graph in "fp16" or "bf16"; pixels are still normalised, and probabilities made of logits, in float32.

    Batch norms are folded into the weights already, so each of these is rounded once. Raises ExportError where one is
    too large for fp16.
    """
    kind, numbers = _TYPES[precision]
    narrowed = version_converter.convert_version(onnx.load_from_string(model), OPSET[precision])
    graph = narrowed.graph
    if precision == "bf16":
        _spell_out(graph)
    else:
        scales.to_fp16(graph)
    normalising = _normalising(graph.node)
    _narrow_weights(graph, {name for node in normalising for name in node.input}, precision, numbers)
    nodes = list(graph.node)
    del graph.node[:], graph.value_info[:]
    for node in nodes:
        if node.output[0] == OUTPUT:
            graph.node.append(helper.make_node("Cast", node.input, ["logits"], "logits", to=TensorProto.FLOAT))
            node.input[0] = "logits"
        if node is normalising[-1]:
            narrow = helper.make_node("Cast", ["normalised"], node.output, "narrow", to=kind)
            node.output[0] = "normalised"
            graph.node.extend([node, narrow])
        else:
            graph.node.append(node)
    onnx.checker.check_model(narrowed, full_check=True)
    return narrowed.SerializeToString(deterministic=True)


def _narrow_weights(graph: GraphProto, kept: Container[str], precision: str, numbers: DTypeLike) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            values = numpy_helper.to_array(tensor)
            if precision == "fp16" and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise ExportError(f"The weights {tensor.name} are too large for fp16: take bf16.")
            tensor.CopyFrom(numpy_helper.from_array(values.astype(numbers), tensor.name))


def _spell_out(graph: GraphProto) -> None:
    """Put nodes that TensorRT takes in place of activations that it does not take in bfloat16."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        made = x = node.input[0] if node.input else ""
        for kind, attributes in _SPELT_OUT.get(node.op_type, ()):
            step = helper.make_node(kind, [made], [f"{node.output[0]}.{kind}"], f"{node.name}/{kind}", **attributes)
            graph.node.append(step)
            made = step.output[0]
        if node.op_type in _SPELT_OUT:
            node = helper.make_node("Mul", [x, made], node.output, f"{node.name}/Mul")
        graph.node.append(node)


def _normalising(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Those that stand, one after the other, between the pixels and the network."""
    found: list[NodeProto] = []
    for node in nodes:
        if node.input and node.input[0] == (found[-1].output[0] if found else INPUT) and node.op_type in _NORMALISING:
            found.append(node)
    return found


def rounded(model: bytes) -> bytes:
    """A 16 bit graph's own numbers in float32, each result rounded to the 16 bit.

    For a runtime without such arithmetic: it would quietly compute in float32 and hide what overflows or is lost.
    """
    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    inferred = onnx.shape_inference.infer_shapes(loaded).graph.value_info
    narrow = next(item.i for node in graph.node if node.name == "narrow" for item in node.attribute)
    results = {value.name for value in inferred if value.type.tensor_type.elem_type == narrow}
    for tensor in graph.initializer:
        if tensor.data_type == narrow:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        result = node.output[0]
        if result not in results:
            graph.node.append(node)
            continue
        if node.name != "narrow":
            node.output[0] = f"{result}.exact"
            graph.node.append(node)
            node = helper.make_node("Cast", node.output, [f"{result}.narrow"], f"{result}/round", to=narrow)
        else:
            node.output[0] = f"{result}.narrow"
        graph.node.append(node)
        graph.node.append(helper.make_node("Cast", [f"{result}.narrow"], [result], to=TensorProto.FLOAT))
    return loaded.SerializeToString()
