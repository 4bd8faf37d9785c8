"""Pooled: replaces the means in SE blocks by average pools, for which TensorRT has other kernels."""

from collections.abc import Sequence

import onnx
from onnx import NodeProto, helper, numpy_helper

from export.graphs.se_functions import map_sizes
from export.graphs.surgery import serialize


def use_average_pools(model: bytes, blocks: Sequence[str]) -> tuple[bytes, int]:
    """The graph with an AveragePool over the whole map in place of each SE block's mean, and the number of them.

    Only nodes `<block>/se/…/ReduceMean` over maps (N, C, H, W) of known size are replaced. In fp16 TensorRT copies such
    a map into another layout before it computes a mean; a pool reads the map in its own layout.
    """
    loaded = onnx.load_from_string(model)
    sizes = map_sizes(loaded)
    spatial = {
        tensor.name
        for tensor in loaded.graph.initializer
        if tensor.data_type == tensor.INT64 and sorted(numpy_helper.to_array(tensor).flatten() % 4) == [2, 3]
    }
    means = [node for node in loaded.graph.node if _is_mean(node, blocks, spatial) and node.input[0] in sizes]
    for node in means:
        window = sizes[node.input[0]]
        node.CopyFrom(helper.make_node("AveragePool", node.input[:1], node.output, node.name, kernel_shape=window))
    return serialize(loaded), len(means)


def _is_mean(node: NodeProto, blocks: Sequence[str], spatial: set[str]) -> bool:
    """Whether the node is an SE block's mean over height and width that keeps both dimensions."""
    kept = all(item.i for item in node.attribute if item.name == "keepdims")
    over = node.op_type == "ReduceMean" and len(node.input) > 1 and node.input[1] in spatial
    return over and kept and any(node.name.startswith(f"{block}/se/") for block in blocks)
