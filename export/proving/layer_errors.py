"""Layer errors: in which layers a quantised graph loses its accuracy."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bundle.graph import INPUT
from bundle.images import Pixels
from export.graphs.surgery import initializers, producers

_IMAGES = 16
_BATCH = 4  # images whose activations are held in memory at once
_MOST_LAYERS = 12


@dataclass(frozen=True)
class LayerError:
    """The signal-to-noise ratio, in dB, of the activation that a node computes.

    `own_db` counts only the rounding and clipping of this activation, `cumulated_db` also all errors before it.
    """

    node: str
    own_db: float
    cumulated_db: float


def measure(model: bytes, quantised: bytes, pixels: Pixels) -> list[LayerError]:
    """The error of each activation that the quantised graph has in 8 bits, largest own error first.

    `model` is the fp32 graph; the first 16 of the `pixels` are run.
    """
    nodes = {name: node.name for name, node in producers(onnx.load_from_string(model).graph).items()}
    scales = _scales(onnx.load_from_string(quantised), set(nodes))
    sums = {name: np.zeros(3) for name in scales}  # of squares: the signal, its own noise, all noise
    for start in range(0, _IMAGES, _BATCH):
        batch = pixels[start : min(start + _BATCH, _IMAGES)]
        exact, rounded = (_activations(graph, list(scales), batch) for graph in (model, quantised))
        for name, values in exact.items():
            own, cumulated = values - _round_trip(values, *scales[name]), values - rounded[name]
            sums[name] += [float(np.square(part).sum()) for part in (values, own, cumulated)]
    found = [
        LayerError(nodes[name], _db(signal, own), _db(signal, cumulated))
        for name, (signal, own, cumulated) in sums.items()
    ]
    return sorted(found, key=lambda layer: layer.own_db)


def table(found: list[LayerError]) -> str:
    """The worst layers, one a line."""
    lines = [f"{'own dB':>8} {'cumulated dB':>13}  layer (below 20 dB an activation is mostly noise)"]
    lines += [f"{layer.own_db:8.1f} {layer.cumulated_db:13.1f}  {layer.node}" for layer in found[:_MOST_LAYERS]]
    return "\n".join(lines)


def _scales(model: onnx.ModelProto, names: set[str]) -> dict[str, tuple[float, Any]]:
    """The scale and the zero point (in the 8-bit type) of each named activation that a QuantizeLinear reads."""
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in initializers(model.graph).items()}
    return {
        node.input[0]: (float(constants[node.input[1]]), constants[node.input[2]][()])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in names
    }


def _round_trip(values: np.ndarray, scale: float, zero: Any) -> np.ndarray:
    """The values after quantisation and dequantisation."""
    if zero.dtype.kind not in "iu":  # float8
        most = float(ml_dtypes.finfo(zero.dtype).max)  # type: ignore[no-untyped-call]
        return np.clip(values / scale, -most, most).astype(zero.dtype).astype(np.float32) * scale
    limits = np.iinfo(zero.dtype)
    return (np.clip(np.rint(values / scale) + zero, limits.min, limits.max) - zero) * scale


def _activations(model: bytes, names: list[str], pixels: Pixels) -> dict[str, np.ndarray]:
    """The values of the named tensors for these images."""
    loaded = onnx.load_from_string(model)
    loaded.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    with tempfile.TemporaryDirectory(prefix="sesame-layers-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(loaded, path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # run it as written
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, {INPUT: pixels}), strict=True))


def _db(signal: float, noise: float) -> float:
    return 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30)))
