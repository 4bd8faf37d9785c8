"""Parity: how near two runs of the same network are, and what a graph of each precision must keep."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.predictions import Probabilities

MAX_DP = 1e-4
MAX_DLOGP = 1e-3
"""Largest difference of a probability, and of its logarithm over the reference's top ten, of an fp32 graph."""

AGREEMENT = {"fp16": 0.99, "bf16": 0.99, "int8": 0.98, "int8-trt": 0.98, "fp8": 0.98}
"""Least share of the sure images whose best class a graph of lower precision must leave as it is."""

SURE = 0.1
"""An image is sure where the reference's best class is this much more probable than the next."""

FLOOR = 1e-7
"""Probabilities below it count as it: float32 tells logarithms of smaller ones badly."""


@dataclass(frozen=True)
class Parity:
    """The differences of one set of images; agreements are shares of images, 0..1."""

    images: int
    max_dp: float
    max_dlogp: float
    top1_agreement: float
    top5_agreement: float
    sure_images: int
    sure_agreement: float

    def kept(self, precision: str = "fp32") -> bool:
        """Whether what the precision must keep is kept: fp32 the tolerances, lower ones the best class of sure images.

        One image may always differ: a probe is too small to tell 98 % from 97 %. NaN keeps nothing.
        """
        if not np.isfinite(self.max_dp):
            return False
        if precision == "fp32":
            return self.max_dp <= MAX_DP and self.max_dlogp <= MAX_DLOGP
        lost = self.sure_images * (1 - self.sure_agreement)
        return bool(lost <= max(1, self.sure_images * (1 - AGREEMENT[precision])) + 1e-9)


def compare(reference: Probabilities, other: Probabilities) -> Parity:
    """Compare two (n, classes) arrays of the same images, the first being the truth.

    Top-5 agreement: the share of images whose five most probable classes are the same set.
    """
    order = np.argsort(-reference, axis=1, kind="stable")
    other_order = np.argsort(-other, axis=1, kind="stable")
    ten = order[:, :10]
    logs = np.log(np.maximum(np.take_along_axis(reference, ten, 1), FLOOR))
    other_logs = np.log(np.maximum(np.take_along_axis(other, ten, 1), FLOOR))
    fives = np.sort(order[:, :5], 1) == np.sort(other_order[:, :5], 1)
    same = order[:, 0] == other_order[:, 0]
    best, next_best = np.take_along_axis(reference, order[:, :2], 1).T
    sure = best - next_best >= SURE
    return Parity(
        images=len(reference),
        max_dp=float(np.abs(reference - other).max()),
        max_dlogp=float(np.abs(logs - other_logs).max()),
        top1_agreement=float(same.mean()),
        top5_agreement=float(fives.all(axis=1).mean()),
        sure_images=int(sure.sum()),
        sure_agreement=float(same[sure].mean()) if sure.any() else 1.0,
    )


@dataclass(frozen=True)
class Loss:
    """What a precision costs in top-1 accuracy, shares of the labelled images; `low` to `high`: its 95 % interval."""

    images: int
    reference: float
    accuracy: float
    low: float
    high: float

    @property
    def points(self) -> float:
        """Percentage points lost."""
        return 100 * (self.reference - self.accuracy)


def loss(truth: NDArray[np.int64], reference: Probabilities, other: Probabilities) -> Loss:
    """The loss over images of known class. The interval is that of a difference of paired proportions (Wald's)."""
    before, after = reference.argmax(1) == truth, other.argmax(1) == truth
    lost, gained, n = int((before & ~after).sum()), int((after & ~before).sum()), len(truth)
    mean = (lost - gained) / n
    half = 1.96 * ((lost + gained) / n - mean**2) ** 0.5 / n**0.5
    return Loss(n, float(before.mean()), float(after.mean()), mean - half, mean + half)
