"""Accuracy gate: measures what a lower precision costs on photos it was not calibrated on, and passes or rejects it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle import parity
from bundle.images import Pixels
from bundle.labels import Label
from bundle.manifest import ParityRow, Preprocessing
from bundle.parity import AGREEMENT, AccuracyLoss, Parity
from bundle.predictions import Probabilities
from export.errors import ExportError
from export.proving import labelled, samples

MOST_POINTS = {"fp16": 0.5, "bf16": 0.5, "int8": 1.0, "int8-trt": 1.0, "fp8": 1.0}
"""Percentage points of top-1 accuracy that a precision may cost."""

LEAST_IMAGES = 150
_LEAST_SURE = 50  # sure images that are needed where no labels are known
_MOST_IMAGES = 2000
_CALIBRATION_IMAGES = 128


@dataclass(frozen=True)
class GatePhotos:
    """Photos to calibrate on and other photos to judge on, both (n, h, w, 3) uint8.

    `truth` is the class index of each judged photo, (n,); None unless all are known.
    """

    calibration: Pixels
    judged: Pixels
    truth: NDArray[np.int64] | None


@dataclass(frozen=True)
class Verdict:
    """The result of one graph in one engine; `loss` is None where the classes of the photos are unknown."""

    file: str
    engine: str
    precision: str
    parity: Parity
    loss: AccuracyLoss | None

    @property
    def passed(self) -> bool:
        if self.loss is None:
            return self.parity.passes(self.precision) and self.parity.sure_images >= _LEAST_SURE
        return self.parity.passes(self.precision) and self.loss.points <= MOST_POINTS[self.precision] + 1e-9

    def sentence(self) -> str:
        """Every measured value with its limit."""
        parts = [
            f"{self.precision} in {self.engine}: same best class for {self.parity.sure_agreement:.1%} of "
            f"{self.parity.sure_images} sure images (at least {AGREEMENT[self.precision]:.0%} required) and for "
            f"{self.parity.top1_agreement:.1%} of all {self.parity.images}, same best five for "
            f"{self.parity.top5_agreement:.1%}"
        ]
        if self.loss is None and self.parity.sure_images < _LEAST_SURE:
            parts.append(f"at least {_LEAST_SURE} sure images are required where no labels are known")
        if self.loss:
            parts.append(
                f"top-1 {self.loss.accuracy:.1%} instead of {self.loss.reference:.1%}, {self.loss.points:+.2f} points "
                f"lost (95 % interval {100 * self.loss.low:+.2f} to {100 * self.loss.high:+.2f}; at most "
                f"{MOST_POINTS[self.precision]:g} allowed)"
            )
        return "; ".join(parts)

    def row(self) -> ParityRow:
        """The manifest's row."""
        row = ParityRow(
            file=self.file,
            engine=self.engine,
            precision=self.precision,
            inputs="photos",
            **dataclasses.asdict(self.parity),
        )
        if self.loss is None:
            return row
        return dataclasses.replace(
            row,
            labelled=self.loss.images,
            accuracy_fp32=self.loss.reference,
            accuracy=self.loss.accuracy,
            loss_low=self.loss.low,
            loss_high=self.loss.high,
        )


def load_photos(
    calibrate: Path, judge: Path | None, labels: Sequence[Label], preprocessing: Preprocessing
) -> GatePhotos:
    """Photos to calibrate on and others to judge on. Without `judge`, every second photo of one folder is for each.

    Raises ExportError where there are too few, or one cannot be decoded.
    """
    first = samples.find_photos(calibrate)
    if judge is None:
        first, second = first[::2], first[1::2]
    else:
        calibrated = {path.resolve() for path in first}
        second = [path for path in samples.find_photos(judge) if path.resolve() not in calibrated]
    if len(first) < samples.PROBE_IMAGES or len(second) < LEAST_IMAGES:
        raise ExportError(
            f"There are {len(first)} photos to calibrate on and {len(second)} others to judge on: at least "
            f"{samples.PROBE_IMAGES} and {LEAST_IMAGES} are needed. Give them with --calibrate DIR and --judge DIR."
        )
    first = samples.take_evenly(first, _CALIBRATION_IMAGES)
    second = samples.take_evenly(second, _MOST_IMAGES)
    calibration, judged = (
        np.stack([samples.load_picture(path, preprocessing) for path in paths]) for paths in (first, second)
    )
    return GatePhotos(calibration, judged, labelled.class_indices(second, judge or calibrate, labels))


def evaluate(
    file: str, engine: str, precision: str, photos: GatePhotos, reference: Probabilities, answers: Probabilities
) -> Verdict:
    """Compare a graph's answers to the judged photos with the torch network's, both (n, classes)."""
    cost = None if photos.truth is None else parity.accuracy_loss(photos.truth, reference, answers)
    return Verdict(file, engine, precision, parity.compare(reference, answers), cost)
