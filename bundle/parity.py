"""Parity: how close two runs of the same network are, and how close a graph of each precision must be."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.predictions import Probabilities

MAX_DP = 1e-4
MAX_DLOGP = 1e-3
"""Largest allowed difference of a probability, and of its logarithm over the reference's top ten, in fp32."""

AGREEMENT = {"fp16": 0.99, "bf16": 0.99, "int8": 0.98, "int8-trt": 0.98, "fp8": 0.98}
"""The least share of sure images (see below) whose best class must stay the same, for precisions below fp32."""

CONFIDENT_MARGIN = 0.1
"""The reference is sure of an image where its best class is at least this much more probable than the second."""

FLOOR = 1e-7
"""Smaller probabilities are raised to this before their logarithms are compared: in float32 they are inaccurate."""


@dataclass(frozen=True)
class Parity:
    """The differences on a set of images. Agreements are shares of images, 0..1.

    `sure_images` is the number of images that the reference is sure of, `sure_agreement` the top-1 agreement on
    these. Manifests and plans have these names.
    """

    images: int
    max_dp: float
    max_dlogp: float
    top1_agreement: float
    top5_agreement: float
    sure_images: int
    sure_agreement: float

    def passes(self, precision: str = "fp32") -> bool:
        """Whether the differences are allowed: fp32 has tolerances, lower precisions must keep best classes.

        One image may always differ, because a probe is too small to distinguish 98 % from 97 %. NaN never passes.
        """
        if not np.isfinite(self.max_dp):
            return False
        if precision == "fp32":
            return self.max_dp <= MAX_DP and self.max_dlogp <= MAX_DLOGP
        lost = self.sure_images * (1 - self.sure_agreement)
        return bool(lost <= max(1, self.sure_images * (1 - AGREEMENT[precision])) + 1e-9)


def compare(reference: Probabilities, other: Probabilities) -> Parity:
    """Compare two (n, classes) arrays for the same images.

    Top-5 agreement is the share of images whose five most probable classes are the same set.
    """
    order = np.argsort(-reference, axis=1, kind="stable")
    other_order = np.argsort(-other, axis=1, kind="stable")
    ten = order[:, :10]
    logs = np.log(np.maximum(np.take_along_axis(reference, ten, 1), FLOOR))
    other_logs = np.log(np.maximum(np.take_along_axis(other, ten, 1), FLOOR))
    fives = np.sort(order[:, :5], 1) == np.sort(other_order[:, :5], 1)
    same = order[:, 0] == other_order[:, 0]
    best, next_best = np.take_along_axis(reference, order[:, :2], 1).T
    sure = best - next_best >= CONFIDENT_MARGIN
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
class AccuracyLoss:
    """The top-1 accuracy that a precision loses, as shares of the labelled images, 0..1.

    `reference` and `accuracy` are the accuracies before and after, `low` to `high` is the 95 % interval of the loss.
    """

    images: int
    reference: float
    accuracy: float
    low: float
    high: float

    @property
    def points(self) -> float:
        """The loss in percentage points."""
        return 100 * (self.reference - self.accuracy)


def accuracy_loss(truth: NDArray[np.int64], reference: Probabilities, other: Probabilities) -> AccuracyLoss:
    """The loss on images whose classes `truth` (n,) are known; the others are (n, classes).

    The interval is Wald's for the difference of paired proportions.
    """
    before, after = reference.argmax(1) == truth, other.argmax(1) == truth
    lost, gained, n = int((before & ~after).sum()), int((after & ~before).sum()), len(truth)
    mean = (lost - gained) / n
    half = 1.96 * ((lost + gained) / n - mean**2) ** 0.5 / n**0.5
    return AccuracyLoss(n, float(before.mean()), float(after.mean()), mean - half, mean + half)
