"""Scales: the factors of QuantizeLinear and DequantizeLinear nodes, and how they are rounded to fp16."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

from export.graphs.surgery import initializers, integer_attribute, set_values

_NODES = ("QuantizeLinear", "DequantizeLinear")
_NORMAL = 2.0**-14
_STEP = 2.0**-24
"""fp16 has 11 significant bits from `_NORMAL` up. Smaller numbers (subnormals) are multiples of `_STEP`."""


def round_to_fp16(graph: GraphProto) -> None:
    """Round each scale, in place, to a positive number that fp16 can hold; quantise weights again where it changed.

    A channel of tiny weights has a tiny scale, and TensorRT rejects a scale that fp16 rounds to 0. Subnormal scales are
    rounded up, so that the weights stay in their range. The scales stay float32 tensors.
    """
    constants = initializers(graph)
    names = {node.input[1] for node in graph.node if node.op_type in _NODES}
    before = {name: numpy_helper.to_array(constants[name]) for name in names if name in constants}
    after = {name: _round(values) for name, values in before.items()}
    for node in graph.node:
        weights = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weights is not None and (name := node.input[1]) in after:
            values = numpy_helper.to_array(weights)
            ratio = along_axis(node, (before[name] / after[name]).astype(np.float32), values.ndim)
            set_values(weights, _requantise(values, ratio))
    for name, values in after.items():
        set_values(constants[name], values)


def along_axis(node: NodeProto, scale: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """The scale of a Q or DQ node, reshaped to be broadcast along the node's axis over that many dimensions."""
    if not scale.ndim:
        return scale
    axis = integer_attribute(node, "axis", 1)
    return scale.reshape([-1 if dimension == axis else 1 for dimension in range(dimensions)])


def _round(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a scale that is too large becomes infinite; its weights are then rejected too
        nearest = scale.astype(np.float16).astype(np.float32)
    up = np.maximum(np.ceil(scale / _STEP), 1) * _STEP
    return np.where(scale < _NORMAL, up, nearest).astype(np.float32)


def _requantise(values: NDArray[Any], ratio: NDArray[np.float32]) -> NDArray[Any]:
    """Quantised values for a scale that is `1 / ratio` times as large. Integers are rounded and stay in their range."""
    moved = values.astype(np.float32) * ratio
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        moved = np.clip(np.rint(moved), limits.min, limits.max)
    return moved.astype(values.dtype)
