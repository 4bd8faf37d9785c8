"""INT8: quantises a graph's convolutions and sums with ONNX Runtime's quantiser, calibrated on photos."""

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

from bundle.graph import INPUT
from bundle.images import Pixels
from export.graphs.surgery import drop_unused_initializers, integer_attribute, replace_nodes, serialize
from export.progress import Advance

PERCENTILE = 99.99
"""Per cent of an activation's values that its range covers; the rest is clipped. Covering all values (100) cost a
MobileNetV3-Small 9 to 17 points of accuracy more."""

_BATCH = 4  # images whose activations are held in memory at once


@dataclass(frozen=True)
class Rules:
    """What is quantised for an engine: which kinds of nodes, and how.

    `scaled_sums`: whether the output of an SE block's scaling is quantised too, where it is an input of a sum.
    `seven_bits`: weights from -64 to 64 instead of -127 to 127. `stays_float`: whether a convolution stays in float,
    given its groups and the shape of its weights, (outputs, inputs of a group, height, width).
    """

    kinds: tuple[str, ...]
    activations: QuantType
    symmetric: bool
    scaled_sums: bool
    seven_bits: bool
    stays_float: Callable[[int, Sequence[int]], bool]
    options: Mapping[str, Any]


FOR_CPUS = Rules(
    ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool"),
    QuantType.QUInt8,
    symmetric=False,
    scaled_sums=True,
    seven_bits=True,
    stays_float=lambda groups, shape: groups > 1 and shape[1] == 1,
    options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},  # the largest logits would be clipped
)
"""Weights have 7 bits, so that a CPU without VNNI computes the same as others (see `bundle.overflow`)."""

_ONLY_INPUTS = ("Conv", "Gemm", "MatMul", "Add")
FOR_TENSORRT = Rules(
    _ONLY_INPUTS,
    QuantType.QInt8,
    symmetric=True,
    scaled_sums=False,
    seven_bits=False,
    stays_float=lambda groups, shape: groups > 1 and bool(shape[1] % 4 or shape[0] // groups % 4),
    options={
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": list(_ONLY_INPUTS),
    },
)
"""Symmetric ranges, biases in float. Only the inputs of nodes are quantised, except an input of a sum that an SE block
scaled: TensorRT can then fuse a convolution with what follows it, and scale, sum and ReLU, into one kernel each. Groups
need multiples of four channels (TensorRT's documentation of IConvolutionLayer.num_groups)."""

FOR_TENSORRT_FP8 = dataclasses.replace(
    FOR_TENSORRT,
    stays_float=lambda groups, shape: groups > 1 or min(shape[:2]) < 16 or shape[2] * shape[3] > 32,
)
"""TensorRT has no FP8 kernel for the first convolution of a ResNet (NVIDIA/TensorRT #3987) and none for groups (#4524):
convolutions with groups, few channels or large windows stay in float."""


def to_int8(
    model: bytes, pixels: Pixels, advance: Advance, rules: Rules = FOR_CPUS, percentile: float = PERCENTILE
) -> bytes:
    """The graph with Q/DQ around convolutions, linear layers and sums; weights are signed and per channel.

    SE blocks with their scaling, depthwise convolutions and others that the rules name stay in float: they do little of
    the work, and quantisation costs them most. The ranges of activations come from `pixels`, (n, h, w, 3) uint8.
    """
    with tempfile.TemporaryDirectory(prefix="sesame-int8-") as folder, _silence():
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
            nodes_to_exclude=_float_nodes(onnx.load(prepared), rules),
            calibrate_method=CalibrationMethod.Percentile,
            calibration_cache_path=ranges,
            extra_options=dict(rules.options),
        )
        quantised = onnx.load(done)
        if not rules.scaled_sums:
            _restore_scaled_sums(quantised)
        return _finish(quantised)


def largest_weight(model: bytes) -> int:
    """The largest magnitude among the graph's signed 8-bit weights; 0 where it has none."""
    graph = onnx.load_from_string(model).graph
    restored = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.INT8]
    found = [numpy_helper.to_array(tensor).astype(int) for tensor in weights if tensor.name in restored]
    return max((int(np.abs(values).max()) for values in found), default=0)


def _calibrate(model: Path, pixels: Pixels, rules: Rules, percentile: float, ranges: Path, advance: Advance) -> None:
    """Write the range of each activation. A few images run at a time, as the activations of all would fill memory."""
    calibrator = create_calibrator(
        model,
        list(rules.kinds),
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"percentile": percentile, "symmetric": rules.symmetric},
    )
    for start in range(0, len(pixels), _BATCH):
        calibrator.collect_data(_Reader(pixels[start : start + _BATCH]))
        advance(min(start + _BATCH, len(pixels)), len(pixels))
    save_tensors_data(calibrator.compute_data(), ranges)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pixels: Pixels) -> None:
        self._images: Iterator[dict[str, Any]] = ({INPUT: image[np.newaxis]} for image in pixels)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._images, None)


def _restore_scaled_sums(model: onnx.ModelProto) -> None:
    """Remove Q/DQ between the scaling of an SE block and the sum that reads it."""
    graph = model.graph
    scaled = {name for node in graph.node if node.op_type == "Mul" and "/se/" in node.name for name in node.output}
    instead: dict[str, str] = {}  # output of a Q or DQ node -> the scaled tensor before it
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
    replace_nodes(graph, nodes)
    drop_unused_initializers(graph)


def _float_nodes(model: onnx.ModelProto, rules: Rules) -> list[str]:
    """The names of the nodes that stay in float: those of SE blocks, and the convolutions that the rules exclude."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 4}
    return [node.name for node in model.graph.node if "/se/" in node.name or _stays_float(node, shapes, rules)]


def _stays_float(node: NodeProto, shapes: Mapping[str, tuple[int, ...]], rules: Rules) -> bool:
    if node.op_type != "Conv" or node.input[1] not in shapes:
        return False
    return rules.stays_float(integer_attribute(node, "group", 1), shapes[node.input[1]])


def _finish(model: onnx.ModelProto) -> bytes:
    """Remove what changes between runs or no longer holds, and serialise."""
    model.producer_name, model.producer_version = "sesame", ""
    model.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    return serialize(model)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide the quantiser's output on each step, which goes to the root logger and standard output."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
