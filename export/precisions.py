"""Precisions: what a bundle has besides fp32, each with the proof of what it costs; what costs too much is refused."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bundle.images import Pixels
from bundle.manifest import ParityRow
from bundle.predictions import Probabilities
from export import blame, judge, proof, quantise
from export.graph import OPSET
from export.judge import Photos, Verdict
from export.progress import Progress

KNOWN = ("fp32", "int8", "bf16")
"""fp32 is always written. bf16 is no graph of its own: an engine runs the fp32 graph in it, where the CPU can."""

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
    for precision in precisions:
        if precision == "int8":
            progress.step(f"calibrating int8 on {len(photos.calibration)} photos")
            quantised = quantise.to_int8(model, photos.calibration, progress.advance)
            yield _judged("model.int8.onnx", "int8", quantised, _engines("int8"), model, photos, reference, progress)
        elif precision == "bf16":
            yield _judged("model.onnx", "bf16", model, _engines("bf16"), model, photos, reference, progress)


def _engines(precision: str) -> dict[str, Runs]:
    """Those that are installed here and can run the precision."""
    engines: dict[str, Runs] = {}
    if precision != "bf16":
        engines["onnxruntime-cpu"] = lambda model, pixels: proof.onnx_probabilities(model, pixels, _silent)
    if proof.openvino_runs(precision):
        engines["openvino-cpu"] = lambda model, pixels: proof.openvino_probabilities(model, pixels, precision)
    return engines


def _judged(
    file: str,
    precision: str,
    made: bytes,
    engines: dict[str, Runs],
    plain: bytes,
    photos: Photos,
    reference: Probabilities,
    progress: Progress,
) -> Further | Refused:
    verdicts = []
    for engine, run in engines.items():
        progress.step(f"judging {precision} in {engine} on {len(photos.judged)} photos")
        answers = run(made, photos.judged)
        verdicts.append(judge.verdict(file, engine, precision, photos, reference, answers))
    passed = [verdict for verdict in verdicts if verdict.passed]
    if passed:
        rows = tuple(verdict.row() for verdict in passed)
        return Further(file, precision, OPSET, made if made is not plain else None, rows)
    return Refused(precision, _why(verdicts, plain, made, photos))


def _why(verdicts: Sequence[Verdict], plain: bytes, made: bytes, photos: Photos) -> str:
    if not verdicts:
        return "No engine that is installed here runs it: `pip install openvino`, on a CPU with bfloat16."
    sentences = "\n".join(f"  {verdict.sentence()}" for verdict in verdicts)
    worst = "" if made is plain else "\n" + blame.report(blame.layers(plain, made, photos.judged))
    return f"It loses too much:\n{sentences}{worst}"


def _silent(done: int, total: int) -> None:
    pass
