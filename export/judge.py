"""Judge: what a lower precision costs, on photos that it was not calibrated on, and whether that is too much."""

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
from bundle.parity import AGREEMENT, Loss, Parity
from bundle.predictions import Probabilities
from export import labelled, samples
from export.errors import ExportError

MOST_POINTS = {"fp16": 0.5, "bf16": 0.5, "int8": 1.0, "int8-trt": 1.0, "fp8": 1.0}
"""Percentage points of top-1 accuracy that a precision may cost."""

LEAST_IMAGES = 150
_LEAST_SURE = 50  # where no labels are known: fewer would tell nothing
_MOST_IMAGES = 2000
_CALIBRATED = 128


@dataclass(frozen=True)
class Photos:
    """Photos for two purposes, none for both; `truth` has the class of each judged one where all are told."""

    calibration: Pixels
    judged: Pixels
    truth: NDArray[np.int64] | None


@dataclass(frozen=True)
class Verdict:
    """How a graph did in one engine."""

    file: str
    engine: str
    precision: str
    parity: Parity
    loss: Loss | None

    @property
    def passed(self) -> bool:
        if self.loss is None:
            return self.parity.kept(self.precision) and self.parity.sure_images >= _LEAST_SURE
        return self.parity.kept(self.precision) and self.loss.points <= MOST_POINTS[self.precision] + 1e-9

    def sentence(self) -> str:
        """All that was found, with what was wanted."""
        told = [
            f"{self.precision} in {self.engine}: the best class stays for {self.parity.sure_agreement:.1%} of "
            f"{self.parity.sure_images} sure images (at least {AGREEMENT[self.precision]:.0%} wanted), for "
            f"{self.parity.top1_agreement:.1%} of all {self.parity.images}, the best five for "
            f"{self.parity.top5_agreement:.1%}"
        ]
        if self.loss is None and self.parity.sure_images < _LEAST_SURE:
            told.append(f"at least {_LEAST_SURE} sure images are wanted where no labels are known")
        if self.loss:
            told.append(
                f"top-1 {self.loss.accuracy:.1%} instead of {self.loss.reference:.1%}, {self.loss.points:+.2f} points "
                f"lost (95 % interval {100 * self.loss.low:+.2f} to {100 * self.loss.high:+.2f}; at most "
                f"{MOST_POINTS[self.precision]:g} wanted)"
            )
        return "; ".join(told)

    def row(self) -> ParityRow:
        """For the manifest."""
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


def photos(calibrate: Path, judge: Path | None, labels: Sequence[Label], fit: Preprocessing) -> Photos:
    """Photos to calibrate on and others to judge on: of one folder every second each where `judge` is None.

    Raises ExportError where there are too few, or one cannot be decoded.
    """
    first = samples.paths(calibrate)
    if judge is None:
        first, second = first[::2], first[1::2]
    else:
        calibrated = {path.resolve() for path in first}
        second = [path for path in samples.paths(judge) if path.resolve() not in calibrated]
    if len(first) < samples.PROBE_IMAGES or len(second) < LEAST_IMAGES:
        raise ExportError(
            f"There are {len(first)} photos to calibrate on and {len(second)} others to judge on: at least "
            f"{samples.PROBE_IMAGES} and {LEAST_IMAGES} are needed. Give them with --calibrate DIR and --judge DIR."
        )
    first, second = _spread(first, _CALIBRATED), _spread(second, _MOST_IMAGES)
    calibration, judged = (np.stack([samples.picture(path, fit) for path in paths]) for paths in (first, second))
    return Photos(calibration, judged, labelled.classes(second, judge or calibrate, labels))


def verdict(
    file: str, engine: str, precision: str, photos: Photos, reference: Probabilities, answers: Probabilities
) -> Verdict:
    """Compare a graph's answers to the judged photos with the torch network's."""
    cost = None if photos.truth is None else parity.loss(photos.truth, reference, answers)
    return Verdict(file, engine, precision, parity.compare(reference, answers), cost)


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many, evenly taken from all."""
    step = max(len(paths) / most, 1)
    return [paths[int(index * step)] for index in range(min(len(paths), most))]
