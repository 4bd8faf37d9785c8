"""Float8: what is quantised to INT8 for TensorRT, in 8 bit floating point instead."""

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export.scales import along_axis

_E4M3 = ml_dtypes.float8_e4m3fn
_STRETCH = np.float32(127 / 448)
"""Scales are the end of a range divided by the largest number of the type: 127, or 448 in E4M3."""

_QUANTISED = "_quantized"
"""Ends the names that ONNX Runtime's quantiser gives to weights."""


def to_fp8(quantised: bytes, plain: bytes) -> bytes:
    """A graph that was quantised around zero, with the same ranges in E4M3, each weight rounded once.

    Floats spend their bits near zero: outliers in a range cost them less than they cost whole numbers.
    """
    model = onnx.load_from_string(quantised)
    floats = {tensor.name: tensor for tensor in onnx.load_from_string(plain).graph.initializer}
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    scales: dict[str, NDArray[np.float32]] = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            source, scale, zero = node.input
            if scale not in scales:
                scales[scale] = numpy_helper.to_array(held[scale]) * _STRETCH
                _put(held[scale], scales[scale])
                _put(held[zero], np.zeros(tuple(held[zero].dims), _E4M3))
            if source in held:
                weights = numpy_helper.to_array(floats[source.removesuffix(_QUANTISED)])
                _put(held[source], (weights / along_axis(node, scales[scale], weights.ndim)).astype(_E4M3))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _put(tensor: TensorProto, values: NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
