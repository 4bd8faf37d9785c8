"""FP8: turns a graph that is quantised to INT8 for TensorRT into one in 8-bit floating point."""

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from export.graphs.scales import along_axis
from export.graphs.surgery import initializers, serialize, set_values

_E4M3 = ml_dtypes.float8_e4m3fn
_STRETCH = np.float32(127 / 448)
"""A scale is the end of a range divided by the largest number of the type: 127 in INT8, 448 in E4M3."""

_QUANTISED = "_quantized"
"""ONNX Runtime's quantiser appends this to the names of weights."""


def to_fp8(quantised: bytes, plain: bytes) -> bytes:
    """A symmetrically quantised INT8 graph with the same ranges in E4M3.

    Weights are taken from the `plain` fp32 graph, so that each is rounded only once. Floating point has more precision
    near zero than integers have: an outlier, which widens a range, costs it less.
    """
    model = onnx.load_from_string(quantised)
    original = initializers(onnx.load_from_string(plain).graph)
    constants = initializers(model.graph)
    scales: dict[str, NDArray[np.float32]] = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            source, scale, zero = node.input
            if scale not in scales:
                scales[scale] = numpy_helper.to_array(constants[scale]) * _STRETCH
                set_values(constants[scale], scales[scale])
                set_values(constants[zero], np.zeros(tuple(constants[zero].dims), _E4M3))
            if source in constants:
                weights = numpy_helper.to_array(original[source.removesuffix(_QUANTISED)])
                set_values(constants[source], (weights / along_axis(node, scales[scale], weights.ndim)).astype(_E4M3))
    return serialize(model)
