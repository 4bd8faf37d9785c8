"""Inner tensors: which tensors of an exported graph hold the gates of its SE blocks, and where its head begins."""

from collections.abc import Sequence

import onnx
from onnx import ModelProto, NodeProto, numpy_helper, shape_inference

from bundle.graph import OUTPUT
from bundle.manifest import Head
from export.graphs.surgery import initializers, integer_attribute, producers

_RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Identity"})
"""Between a pooled map of one place and the linear layer these change the shape only."""


def gates(model: bytes, blocks: Sequence[str]) -> list[str | None]:
    """The tensor that holds the gates of each SE block, given by names such as `layer1.0`; None where none does."""
    inferred = shape_inference.infer_shapes(onnx.load_from_string(model))
    made_by = producers(inferred.graph)
    return [_gate(inferred, made_by, block) for block in blocks]


def head(model: bytes) -> Head | None:
    """The head, where the probabilities are the softmax of one linear layer of the mean over the last feature map."""
    graph = onnx.load_from_string(model).graph
    made_by, constants = producers(graph), initializers(graph)
    softmax = made_by[OUTPUT]
    linear = made_by.get(softmax.input[0])
    if softmax.op_type != "Softmax" or linear is None or not _is_linear(linear):
        return None
    pooled = made_by.get(linear.input[0])
    while pooled is not None and pooled.op_type in _RESHAPING:
        pooled = made_by.get(pooled.input[0])
    if pooled is None or not _is_mean_over_places(pooled, constants):
        return None
    return Head(pooled.input[0], *linear.input)


def _gate(model: ModelProto, made_by: dict[str, NodeProto], block: str) -> str | None:
    """Of the two factors of the block's product, the one that the SE module itself computes. The other one enters it:
    a product of two inner tensors is an activation, such as SiLU.
    """
    prefix = f"{block}/se/"
    for product in (node for node in model.graph.node if node.name.startswith(prefix) and node.op_type == "Mul"):
        inner = [name for name in product.input if name in made_by and made_by[name].name.startswith(prefix)]
        if len(inner) == 1 and _shape(model, inner[0])[2:] == [1, 1]:
            return str(inner[0])
    return None


def _shape(model: ModelProto, name: str) -> list[int]:
    """Sizes of a tensor; 0 where one is known only in a run."""
    row = next((row for row in model.graph.value_info if row.name == name), None)
    return [dim.dim_value for dim in row.type.tensor_type.shape.dim] if row else []


def _is_linear(node: NodeProto) -> bool:
    """Whether it is x · weightᵀ, with or without a bias: torch exports a linear layer so, and leaves out zeros."""
    scaled = {item.f for item in node.attribute if item.name in ("alpha", "beta")} - {1.0}
    turned = integer_attribute(node, "transA", 0), integer_attribute(node, "transB", 0)
    return node.op_type == "Gemm" and not scaled and turned == (0, 1)


def _is_mean_over_places(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type == "GlobalAveragePool":
        return True
    axes = constants.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
    return axes is not None and sorted(numpy_helper.to_array(axes) % 4) == [2, 3]
