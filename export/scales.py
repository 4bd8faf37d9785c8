"""Scales: of Q/DQ nodes, by which whole numbers or floats of 8 bit stand for larger ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

_NODES = ("QuantizeLinear", "DequantizeLinear")
_NORMAL = 2.0**-14
_STEP = 2.0**-24
"""fp16 has 11 bits from the first one up. Below, its numbers are multiples of the second one."""


def to_fp16(graph: GraphProto) -> None:
    """Round each scale to a number that fp16 has, above 0, and quantise the weights anew where their scale changes.

    A channel of tiny weights has a tiny scale. TensorRT refuses one that fp16 rounds to 0. Those of which fp16 has few
    bits are rounded up, so that the weights keep their range. The scales stay float32 tensors.
    """
    held = {tensor.name: tensor for tensor in graph.initializer}
    names = {node.input[1] for node in graph.node if node.op_type in _NODES}
    before = {name: numpy_helper.to_array(held[name]) for name in names if name in held}
    after = {name: _rounded(values) for name, values in before.items()}
    for node in graph.node:
        weights = held.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weights is not None and (name := node.input[1]) in after:
            values = numpy_helper.to_array(weights)
            ratio = along_axis(node, (before[name] / after[name]).astype(np.float32), values.ndim)
            weights.CopyFrom(numpy_helper.from_array(_requantised(values, ratio), weights.name))
    for name, values in after.items():
        held[name].CopyFrom(numpy_helper.from_array(values, name))


def along_axis(node: NodeProto, scale: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """The scale of a Q or DQ node, in the shape that is broadcast along the node's axis."""
    if not scale.ndim:
        return scale
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    return scale.reshape([-1 if dimension == axis else 1 for dimension in range(dimensions)])


def _rounded(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused with the weights
        nearest = scale.astype(np.float16).astype(np.float32)
    up = np.maximum(np.ceil(scale / _STEP), 1) * _STEP
    return np.where(scale < _NORMAL, up, nearest).astype(np.float32)


def _requantised(values: NDArray[Any], ratio: NDArray[np.float32]) -> NDArray[Any]:
    """Quantised values for a scale `1 / ratio` times as large. Whole numbers are rounded and stay in their range."""
    moved = values.astype(np.float32) * ratio
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        moved = np.clip(np.rint(moved), limits.min, limits.max)
    return moved.astype(values.dtype)
