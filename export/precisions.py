"""Precisions: what a bundle has besides fp32, each with the proof of what it costs; what costs too much is refused."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx

from bundle.images import Pixels
from bundle.manifest import ParityRow
from bundle.overflow import LARGEST_WEIGHT
from bundle.predictions import Probabilities
from export import blame, float8, judge, narrow, proof, quantise
from export.errors import ExportError
from export.judge import Photos, Verdict
from export.progress import Progress
from export.proof import Advance

KNOWN = ("fp32", "int8", "bf16", "fp16", "int8-trt", "fp8")
"""fp32 is always written. GPUs take fp16, bf16, int8-trt and fp8; CPUs int8, and bf16 without a graph of its own: an
engine runs the fp32 graph in it, where the CPU can."""

EIGHT_BIT = ("int8-trt", "fp8")
"""Those for TensorRT: what is not quantised in them is fp16."""

Runs = Callable[[bytes, Pixels], Probabilities]


@dataclass(frozen=True)
class Further:
    """What a bundle gets besides its fp32 graph: a file, unless the fp32 graph itself is run, and its proofs."""

    file: str
    precision: str
    opset: int
    model: bytes | None
    rows: tuple[ParityRow, ...]


@dataclass(frozen=True)
class Refused:
    """A precision that no engine passed with; `report` is for people."""

    precision: str
    report: str


def further(
    precisions: Sequence[str], model: bytes, photos: Photos, reference: Probabilities, progress: Progress
) -> Iterator[Further | Refused]:
    """Make and judge each precision besides fp32. `reference`: the torch network's answers to the judged photos."""
    judging = _Judging(model, photos, reference, progress)
    for precision in precisions:
        file = f"model.{precision}.onnx"
        if precision == "int8":
            progress.step(f"calibrating {precision} on {len(photos.calibration)} photos")
            quantised = quantise.to_int8(model, photos.calibration, progress.advance)
            if (largest := quantise.largest_weight(quantised)) > LARGEST_WEIGHT:
                yield Refused(precision, _overflows(largest))
            else:
                yield judging.outcome(file, precision, quantised, _runs(precision))
        if precision in EIGHT_BIT:
            progress.step(f"calibrating {precision} on {len(photos.calibration)} photos")
            quantised = eight_bit(precision, model, photos.calibration, progress.advance)
            mixed = narrow.to_16_bit(quantised, "fp16")
            yield judging.outcome(file, precision, mixed, {"onnxruntime-cpu": _simulated}, blamed=quantised)
        if precision == "bf16":
            yield judging.outcome("model.onnx", precision, model, _runs(precision))
        if precision in narrow.OPSET:
            try:
                narrowed = narrow.to_16_bit(model, precision)
            except ExportError as error:
                yield Refused(precision, str(error))
            else:
                yield judging.outcome(file, precision, narrowed, {"onnxruntime-cpu": _rounded})


def eight_bit(precision: str, model: bytes, pixels: Pixels, advance: Advance) -> bytes:
    """The graph for TensorRT with convolutions and sums in INT8 or FP8, and the rest in float32."""
    if precision == "int8-trt":
        return quantise.to_int8(model, pixels, advance, quantise.FOR_TENSORRT)
    return float8.to_fp8(quantise.to_int8(model, pixels, advance, quantise.FOR_TENSORRT_FP8), model)


def _runs(precision: str) -> dict[str, Runs]:
    """The engines that are installed here and run it."""
    engines: dict[str, Runs] = {}
    if precision != "bf16":
        engines["onnxruntime-cpu"] = lambda model, pixels: proof.onnx_probabilities(model, pixels, _silent)
    if proof.openvino_runs(precision):
        engines["openvino-cpu"] = lambda model, pixels: proof.openvino_probabilities(model, pixels, precision)
    return engines


def _rounded(model: bytes, pixels: Pixels) -> Probabilities:
    return proof.onnx_probabilities(narrow.rounded(model), pixels, _silent)


def _simulated(model: bytes, pixels: Pixels) -> Probabilities:
    return proof.onnx_probabilities(narrow.rounded(model), pixels, _silent, simulated=True)


@dataclass(frozen=True)
class _Judging:
    """What graphs are judged by: the plain one, and the torch network's answers to photos."""

    plain: bytes
    photos: Photos
    reference: Probabilities
    progress: Progress

    def outcome(
        self, file: str, precision: str, made: bytes, runs: dict[str, Runs], blamed: bytes | None = None
    ) -> Further | Refused:
        """Run in each engine; one that it passes in is enough. `blamed`: in float32 but for what is quantised."""
        verdicts = []
        for engine, run in runs.items():
            self.progress.step(f"judging {file} as {precision} in {engine} on {len(self.photos.judged)} photos")
            answers = run(made, self.photos.judged)
            verdicts.append(judge.verdict(file, engine, precision, self.photos, self.reference, answers))
        if passed := [verdict for verdict in verdicts if verdict.passed]:
            written = None if made is self.plain else made
            return Further(file, precision, _opset(made), written, tuple(verdict.row() for verdict in passed))
        return Refused(f"{precision} ({file})", self._why(verdicts, blamed or made))

    def _why(self, verdicts: Sequence[Verdict], made: bytes) -> str:
        if not verdicts:
            return "No engine that is installed here runs it: `pip install openvino`, on a CPU with bfloat16."
        sentences = "\n".join(f"  {verdict.sentence()}" for verdict in verdicts)
        quantised = any(verdict.precision.startswith(("int8", "fp8")) for verdict in verdicts)
        worst = "\n" + blame.report(blame.layers(self.plain, made, self.photos.judged)) if quantised else ""
        return f"It loses too much:\n{sentences}{worst}"


def _overflows(largest: int) -> str:
    """Only a fault of the quantiser leads here: what is judged here must be what every other CPU computes."""
    return (
        f"Its weights reach {largest}, and beyond {LARGEST_WEIGHT} their sums overflow on CPUs without VNNI: "
        "install the onnxruntime that this version was tested with, or report it."
    )


def _opset(model: bytes) -> int:
    return next(row.version for row in onnx.load_from_string(model).opset_import if not row.domain)


def _silent(done: int, total: int) -> None:
    pass
