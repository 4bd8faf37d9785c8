"""Quantise: a graph's convolutions and sums in INT8, by ONNX Runtime's quantiser and real photos."""

import contextlib
import io
import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quant_pre_process,
    quantize_static,
    save_tensors_data,
)

from bundle.images import Pixels
from export.graph import INPUT
from export.proof import Advance

PERCENTILE = 99.99
"""Of an activation's values the range holds so many; what is beyond is clipped. The whole range (100) cost a
MobileNetV3-Small 9 to 17 points more."""

_KINDS = ["Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool"]
_PIECE = 4  # images whose activations are held in memory at once


def to_int8(
    model: bytes, pixels: Pixels, advance: Advance, percentile: float = PERCENTILE, *, for_tensorrt: bool = False
) -> bytes:
    """The graph with Q/DQ around convolutions, linear layers and sums, as CPUs want it: weights signed and per channel,
    activations unsigned. TensorRT wants these signed and around zero too, biases in float, and what an SE block weighs
    not quantised before it, so that scale, sum and ReLU become one kernel.

    SE blocks, their gates' multiplications and depthwise convolutions stay in float: they have hardly any of the work,
    and there quantisation breaks. `pixels` (n, h, w, 3) are what activations' ranges are taken from.
    """
    activations = QuantType.QInt8 if for_tensorrt else QuantType.QUInt8
    rules = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False} if for_tensorrt else {}
    with tempfile.TemporaryDirectory(prefix="sesame-int8-") as folder, _quietly():
        plain, prepared, ranges, done = (Path(folder) / name for name in ("a.onnx", "b.onnx", "ranges.json", "c.onnx"))
        plain.write_bytes(model)
        quant_pre_process(plain, prepared, skip_optimization=True, skip_symbolic_shape=True)
        _calibrate(prepared, pixels, percentile, for_tensorrt, ranges, advance)
        quantize_static(
            prepared,
            done,
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_KINDS,
            per_channel=True,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_kept_in_float(onnx.load(prepared)),
            calibrate_method=CalibrationMethod.Percentile,
            calibration_cache_path=ranges,
            extra_options=rules,
        )
        quantised = onnx.load(done)
        if for_tensorrt:
            _leave_before_se(quantised)
        return _stripped(quantised)


def _calibrate(model: Path, pixels: Pixels, percentile: float, symmetric: bool, ranges: Path, advance: Advance) -> None:
    """Write the range of each activation. Images go through in pieces, or all activations of all would be held."""
    calibrator = create_calibrator(
        model,
        _KINDS,
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"percentile": percentile, "symmetric": symmetric},
    )
    for start in range(0, len(pixels), _PIECE):
        calibrator.collect_data(_Reader(pixels[start : start + _PIECE]))
        advance(min(start + _PIECE, len(pixels)), len(pixels))
    save_tensors_data(calibrator.compute_data(), ranges)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pixels: Pixels) -> None:
        self._images: Iterator[dict[str, Any]] = ({INPUT: image[np.newaxis]} for image in pixels)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._images, None)


def _leave_before_se(model: onnx.ModelProto) -> None:
    """Take Q/DQ away from activations that only SE blocks read."""
    nodes = model.graph.node
    users: dict[str, list[NodeProto]] = defaultdict(list)
    for node in nodes:
        for name in node.input:
            users[name].append(node)
    for quantise in [node for node in nodes if node.op_type == "QuantizeLinear"]:
        restored = users[quantise.output[0]]
        readers = [reader for node in restored for reader in users[node.output[0]]]
        if readers and all("/se/" in reader.name for reader in readers):
            for reader in readers:
                for node in restored:
                    reader.input[:] = [quantise.input[0] if name == node.output[0] else name for name in reader.input]
            for node in (quantise, *restored):
                nodes.remove(node)
    read = {name for node in nodes for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)


def _kept_in_float(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if "/se/" in node.name or _depthwise(node)]


def _depthwise(node: onnx.NodeProto) -> bool:
    return any(item.name == "group" and item.i > 32 for item in node.attribute)


def _stripped(model: onnx.ModelProto) -> bytes:
    model.producer_name, model.producer_version = "sesame", ""
    model.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The quantiser tells the root logger and standard output of each step."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
