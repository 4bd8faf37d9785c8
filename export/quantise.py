"""Quantise: a graph's convolutions and sums in INT8, by ONNX Runtime's quantiser and real photos."""

import contextlib
import dataclasses
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper
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

_PIECE = 4  # images whose activations are held in memory at once


@dataclass(frozen=True)
class Rules:
    """What an engine wants quantised, in which kinds of nodes and how.

    `scaled_sums`: also what an SE block has scaled, where it goes into a sum. `seven_bits`: weights from -64 to 64
    instead of -127 to 127. `leaves`: whether a convolution stays in float, by its groups and the shape of its weights,
    (outputs, inputs of a group, height, width).
    """

    kinds: tuple[str, ...]
    activations: QuantType
    symmetric: bool
    scaled_sums: bool
    seven_bits: bool
    leaves: Callable[[int, Sequence[int]], bool]
    options: Mapping[str, Any]


FOR_CPUS = Rules(
    ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool"),
    QuantType.QUInt8,
    symmetric=False,
    scaled_sums=True,
    seven_bits=True,
    leaves=lambda groups, shape: groups > 1 and shape[1] == 1,
    options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},  # the largest logits would be clipped
)
"""Weights have 7 bits, so that a CPU without VNNI computes what others do (see `bundle.overflow`)."""

_INPUTS_ALONE = ("Conv", "Gemm", "MatMul", "Add")
FOR_TENSORRT = Rules(
    _INPUTS_ALONE,
    QuantType.QInt8,
    symmetric=True,
    scaled_sums=False,
    seven_bits=False,
    leaves=lambda groups, shape: groups > 1 and bool(shape[1] % 4 or shape[0] // groups % 4),
    options={
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": list(_INPUTS_ALONE),
    },
)
"""Around zero, biases in float, and inputs alone but for the scaled input of a sum: so what follows a convolution, and
scale, sum and ReLU, can become one kernel each. Groups need multiples of four channels (TensorRT's documentation of
IConvolutionLayer.num_groups)."""

FOR_TENSORRT_FP8 = dataclasses.replace(
    FOR_TENSORRT,
    leaves=lambda groups, shape: groups > 1 or min(shape[:2]) < 16 or shape[2] * shape[3] > 32,
)
"""TensorRT has no FP8 kernel for the first convolution of a ResNet (NVIDIA/TensorRT #3987) and none for groups (#4524):
few channels and large windows stay in float."""


def to_int8(
    model: bytes, pixels: Pixels, advance: Advance, rules: Rules = FOR_CPUS, percentile: float = PERCENTILE
) -> bytes:
    """The graph with Q/DQ around convolutions, linear layers and sums; weights are signed and per channel.

    SE blocks, their gates' multiplications and, among others, depthwise convolutions stay in float: they have hardly
    any of the work, and there quantisation breaks. `pixels` (n, h, w, 3) are what activations' ranges are taken from.
    """
    with tempfile.TemporaryDirectory(prefix="sesame-int8-") as folder, _quietly():
        plain, prepared, ranges, done = (Path(folder) / name for name in ("a.onnx", "b.onnx", "ranges.json", "c.onnx"))
        plain.write_bytes(model)
        quant_pre_process(plain, prepared, skip_optimization=True, skip_symbolic_shape=True)
        _calibrate(prepared, pixels, rules, percentile, ranges, advance)
        quantize_static(
            prepared,
            done,
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(rules.kinds),
            per_channel=True,
            reduce_range=rules.seven_bits,
            activation_type=rules.activations,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_kept_in_float(onnx.load(prepared), rules),
            calibrate_method=CalibrationMethod.Percentile,
            calibration_cache_path=ranges,
            extra_options=dict(rules.options),
        )
        quantised = onnx.load(done)
        if not rules.scaled_sums:
            _leave_scaled_sums(quantised)
        return _stripped(quantised)


def largest_weight(model: bytes) -> int:
    """The largest magnitude among the graph's signed 8 bit weights; 0 where it has none."""
    graph = onnx.load_from_string(model).graph
    restored = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.INT8]
    found = [numpy_helper.to_array(tensor).astype(int) for tensor in weights if tensor.name in restored]
    return max((int(np.abs(values).max()) for values in found), default=0)


def _calibrate(model: Path, pixels: Pixels, rules: Rules, percentile: float, ranges: Path, advance: Advance) -> None:
    """Write the range of each activation. Images go through in pieces, or all activations of all would be held."""
    calibrator = create_calibrator(
        model,
        list(rules.kinds),
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"percentile": percentile, "symmetric": rules.symmetric},
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


def _leave_scaled_sums(model: onnx.ModelProto) -> None:
    """Take Q/DQ away from what SE blocks have scaled, where it goes into a sum."""
    graph = model.graph
    scaled = {name for node in graph.node if node.op_type == "Mul" and "/se/" in node.name for name in node.output}
    instead: dict[str, str] = {}  # a tensor that was quantised: the one it was made of
    for node in graph.node:
        source = instead.get(node.input[0], node.input[0])
        if source in scaled and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            instead[node.output[0]] = source
        elif node.op_type == "Add":
            node.input[:] = [instead.get(name, name) for name in node.input]
    needed = {output.name for output in graph.output}
    nodes: list[NodeProto] = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            nodes.insert(0, node)
            needed.update(node.input)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)


def _kept_in_float(model: onnx.ModelProto, rules: Rules) -> list[str]:
    """Names of SE blocks' nodes, and of the convolutions that the rules leave."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 4}
    return [node.name for node in model.graph.node if "/se/" in node.name or _left(node, shapes, rules)]


def _left(node: NodeProto, shapes: Mapping[str, tuple[int, ...]], rules: Rules) -> bool:
    if node.op_type != "Conv" or node.input[1] not in shapes:
        return False
    groups = next((item.i for item in node.attribute if item.name == "group"), 1)
    return rules.leaves(groups, shapes[node.input[1]])


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
