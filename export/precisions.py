"""Precisions: makes the graphs of a bundle besides fp32, and leaves out those that cost too much accuracy."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx

from bundle.images import Pixels
from bundle.manifest import ParityRow
from bundle.overflow import LARGEST_WEIGHT
from bundle.predictions import Probabilities
from export.errors import ExportError
from export.graphs import fp8, int8, surgery, to_16bit
from export.progress import Advance, Progress
from export.proving import accuracy_gate, layer_errors, reference_runs
from export.proving.accuracy_gate import GatePhotos, Verdict

KNOWN = ("fp32", "int8", "bf16", "fp16", "int8-trt", "fp8")
"""fp32 is always written. fp16, bf16, int8-trt and fp8 are for GPUs, int8 is for CPUs. On a CPU bf16 needs no graph of
its own: an engine runs the fp32 graph in bfloat16, where the CPU supports it."""

EIGHT_BIT = ("int8-trt", "fp8")
"""The 8-bit precisions for TensorRT. What is not quantised in them is fp16."""

RunGraph = Callable[[bytes, Pixels], Probabilities]
"""Runs an ONNX graph on images (n, h, w, 3) and gives (n, classes)."""


@dataclass(frozen=True)
class AddedPrecision:
    """A precision that passed. `model` is None where the fp32 graph itself is run; `rows` are for the manifest."""

    file: str
    precision: str
    opset: int
    model: bytes | None
    rows: tuple[ParityRow, ...]


@dataclass(frozen=True)
class RefusedPrecision:
    """A precision that passed in no engine; `report` says why, for people."""

    precision: str
    report: str


def add_precisions(
    precisions: Sequence[str], model: bytes, photos: GatePhotos, reference: Probabilities, progress: Progress
) -> Iterator[AddedPrecision | RefusedPrecision]:
    """Make each precision besides fp32 and put it through the accuracy gate.

    `model` is the fp32 graph, `reference` the torch network's answers to the judged photos, (n, classes).
    """
    gate = _Gate(model, photos, reference, progress)
    for precision in precisions:
        file = f"model.{precision}.onnx"
        if precision == "int8":
            progress.step(f"calibrating {precision} on {len(photos.calibration)} photos")
            quantised = int8.to_int8(model, photos.calibration, progress.advance)
            if (largest := int8.largest_weight(quantised)) > LARGEST_WEIGHT:
                yield RefusedPrecision(precision, _overflow_message(largest))
            else:
                yield gate.judge(file, precision, quantised, _engines(precision))
        if precision in EIGHT_BIT:
            progress.step(f"calibrating {precision} on {len(photos.calibration)} photos")
            quantised = to_eight_bit(precision, model, photos.calibration, progress.advance)
            mixed = to_16bit.to_16_bit(quantised, "fp16")
            yield gate.judge(file, precision, mixed, {"onnxruntime-cpu": _simulate}, quantised)
        if precision == "bf16":
            yield gate.judge("model.onnx", precision, model, _engines(precision))
        if precision in to_16bit.OPSET:
            try:
                converted = to_16bit.to_16_bit(model, precision)
            except ExportError as error:
                yield RefusedPrecision(precision, str(error))
            else:
                yield gate.judge(file, precision, converted, {"onnxruntime-cpu": _emulate})


def to_eight_bit(precision: str, model: bytes, pixels: Pixels, advance: Advance) -> bytes:
    """The graph for TensorRT with convolutions and sums in "int8-trt" or "fp8", and the rest in float32."""
    if precision == "int8-trt":
        return int8.to_int8(model, pixels, advance, int8.FOR_TENSORRT)
    return fp8.to_fp8(int8.to_int8(model, pixels, advance, int8.FOR_TENSORRT_FP8), model)


def _engines(precision: str) -> dict[str, RunGraph]:
    """The engines that are installed here and support the precision, by name."""
    engines: dict[str, RunGraph] = {}
    if precision != "bf16":
        engines["onnxruntime-cpu"] = lambda model, pixels: reference_runs.onnx_probabilities(model, pixels, _silent)
    if reference_runs.openvino_supports(precision):
        engines["openvino-cpu"] = lambda model, pixels: reference_runs.openvino_probabilities(model, pixels, precision)
    return engines


def _emulate(model: bytes, pixels: Pixels) -> Probabilities:
    return reference_runs.onnx_probabilities(to_16bit.emulate(model), pixels, _silent)


def _simulate(model: bytes, pixels: Pixels) -> Probabilities:
    return reference_runs.onnx_probabilities(to_16bit.emulate(model), pixels, _silent, simulated=True)


@dataclass(frozen=True)
class _Gate:
    """What graphs are compared with: the fp32 graph, and the torch network's answers to the judged photos."""

    plain: bytes
    photos: GatePhotos
    reference: Probabilities
    progress: Progress

    def judge(
        self, file: str, precision: str, graph: bytes, engines: dict[str, RunGraph], inspected: bytes | None = None
    ) -> AddedPrecision | RefusedPrecision:
        """Run the graph in each engine; to pass in one is enough.

        `inspected` is the same graph with float32 instead of fp16, whose layer errors are reported on a failure.
        """
        verdicts = []
        for engine, run in engines.items():
            self.progress.step(f"evaluating {file} as {precision} in {engine} on {len(self.photos.judged)} photos")
            answers = run(graph, self.photos.judged)
            verdicts.append(accuracy_gate.evaluate(file, engine, precision, self.photos, self.reference, answers))
        if passed := [verdict for verdict in verdicts if verdict.passed]:
            written = None if graph is self.plain else graph
            opset = surgery.opset(onnx.load_from_string(graph))
            return AddedPrecision(file, precision, opset, written, tuple(verdict.row() for verdict in passed))
        return RefusedPrecision(f"{precision} ({file})", self._failure(verdicts, inspected or graph))

    def _failure(self, verdicts: Sequence[Verdict], graph: bytes) -> str:
        if not verdicts:
            return "No engine that is installed here runs it: `pip install openvino`, on a CPU with bfloat16."
        lines = ["It loses too much accuracy:", *(f"  {verdict.sentence()}" for verdict in verdicts)]
        if any(verdict.precision.startswith(("int8", "fp8")) for verdict in verdicts):
            lines.append(layer_errors.table(layer_errors.measure(self.plain, graph, self.photos.judged)))
        return "\n".join(lines)


def _overflow_message(largest: int) -> str:
    """Only a fault of the quantiser leads here: the gate's result on this CPU must hold for every other CPU."""
    return (
        f"Its weights reach {largest}; above {LARGEST_WEIGHT} their sums overflow on CPUs without VNNI: install the "
        "onnxruntime version that this release was tested with, or report it."
    )


def _silent(done: int, total: int) -> None:
    pass
