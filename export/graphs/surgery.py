"""Surgery: the small operations on ONNX models that every rewrite of a graph needs."""

from collections.abc import Iterable
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper


def opset(model: ModelProto) -> int:
    """The version of ONNX's own operators that the model uses."""
    return int(next(row.version for row in model.opset_import if not row.domain))


def initializers(graph: GraphProto) -> dict[str, TensorProto]:
    """The constants of a graph by name. They are the graph's own: a change of one changes the graph."""
    return {tensor.name: tensor for tensor in graph.initializer}


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that produces each tensor, by the tensor's name."""
    return {name: node for node in graph.node for name in node.output}


def integer_attribute(node: NodeProto, name: str, default: int) -> int:
    return next((item.i for item in node.attribute if item.name == name), default)


def set_values(tensor: TensorProto, values: NDArray[Any]) -> None:
    """Replace the values, type and shape of a constant; it keeps its name."""
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def drop_unused_initializers(graph: GraphProto) -> None:
    """Remove the constants that no node reads."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def serialize(model: ModelProto) -> bytes:
    """The checked model; equal models give equal bytes. Raises onnx.checker.ValidationError for an invalid one."""
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
