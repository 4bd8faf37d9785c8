"""Blame: in which layers a quantised graph goes wrong."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bundle.images import Pixels
from export.graph import INPUT

_IMAGES = 16
_PIECE = 4  # images whose activations are held in memory at once
_MOST = 12


@dataclass(frozen=True)
class Layer:
    """An activation's signal-to-noise ratio in dB: by its own rounding and clipping, and with all before it."""

    node: str
    own_db: float
    cumulated_db: float


def layers(model: bytes, quantised: bytes, pixels: Pixels) -> list[Layer]:
    """The activations that the quantised graph has in 8 bit, the worst by their own error first."""
    plain = onnx.load_from_string(model)
    made_by = {name: node.name for node in plain.graph.node for name in node.output}
    scales = _scales(onnx.load_from_string(quantised), set(made_by))
    sums = {name: np.zeros(3) for name in scales}  # of squares: the signal's, its own noise's, all noise's
    for start in range(0, _IMAGES, _PIECE):
        piece = pixels[start : min(start + _PIECE, _IMAGES)]
        exact, rounded = (_activations(graph, list(scales), piece) for graph in (model, quantised))
        for name, values in exact.items():
            own, all_before = values - _round_trip(values, *scales[name]), values - rounded[name]
            sums[name] += [float(np.square(part).sum()) for part in (values, own, all_before)]
    found = [
        Layer(made_by[name], _db(signal, own), _db(signal, all_before))
        for name, (signal, own, all_before) in sums.items()
    ]
    return sorted(found, key=lambda layer: layer.own_db)


def report(found: list[Layer]) -> str:
    """The worst layers, a line each."""
    lines = [f"{'own dB':>8} {'with all before':>16}  layer (below 20 dB an activation has lost its use)"]
    lines += [f"{layer.own_db:8.1f} {layer.cumulated_db:16.1f}  {layer.node}" for layer in found[:_MOST]]
    return "\n".join(lines)


def _scales(model: onnx.ModelProto, known: set[str]) -> dict[str, tuple[float, Any]]:
    """Scale and zero point, of the type that is quantised to, of each activation with a QuantizeLinear behind it."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        node.input[0]: (float(constants[node.input[1]]), constants[node.input[2]][()])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in known
    }


def _round_trip(values: np.ndarray, scale: float, zero: Any) -> np.ndarray:
    if zero.dtype.kind not in "iu":  # float8
        most = float(ml_dtypes.finfo(zero.dtype).max)  # type: ignore[no-untyped-call]
        return np.clip(values / scale, -most, most).astype(zero.dtype).astype(np.float32) * scale
    limits = np.iinfo(zero.dtype)
    return (np.clip(np.rint(values / scale) + zero, limits.min, limits.max) - zero) * scale


def _activations(model: bytes, names: list[str], pixels: Pixels) -> dict[str, np.ndarray]:
    """Those tensors on the images."""
    loaded = onnx.load_from_string(model)
    loaded.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    with tempfile.TemporaryDirectory(prefix="sesame-blame-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(loaded, path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # as it is written
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, {INPUT: pixels}), strict=True))


def _db(signal: float, noise: float) -> float:
    return 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30)))
