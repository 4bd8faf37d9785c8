"""Adapted: a bundle's graph by the rules that TensorRT has besides ONNX's."""

import onnx
from onnx import GraphProto, NodeProto

from plans.contexts import INPUT


def adapted(model: bytes) -> bytes:
    """The graph with its pixels cast before they are transposed.

    A uint8 input of TensorRT may go into a cast and nothing else (NVIDIA/TensorRT #3985); bundles transpose first, as
    that moves a quarter of the bytes.
    """
    loaded = onnx.load_from_string(model)
    nodes = list(loaded.graph.node)
    transpose = _only_user(loaded.graph, INPUT)
    cast = transpose and _only_user(loaded.graph, transpose.output[0])
    if transpose is None or cast is None or (transpose.op_type, cast.op_type) != ("Transpose", "Cast"):
        return model
    transposed = cast.output[0]
    cast.input[0], cast.output[0] = INPUT, f"{INPUT}.cast"
    transpose.input[0], transpose.output[0] = cast.output[0], transposed
    first, second = nodes.index(transpose), nodes.index(cast)
    nodes[first], nodes[second] = nodes[second], nodes[first]
    del loaded.graph.value_info[:]
    ordered = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del loaded.graph.node[:]
    loaded.graph.node.extend(ordered)
    onnx.checker.check_model(loaded, full_check=True)
    return loaded.SerializeToString(deterministic=True)


def _only_user(graph: GraphProto, name: str) -> NodeProto | None:
    users = [node for node in graph.node if name in node.input]
    return users[0] if len(users) == 1 else None
