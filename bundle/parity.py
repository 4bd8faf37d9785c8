"""Parity: how near two runs of the same network are, and the tolerances that a graph must keep."""

from dataclasses import dataclass

import numpy as np

from bundle.predictions import Probabilities

MAX_DP = 1e-4
MAX_DLOGP = 1e-3
"""Largest difference of a probability, and of its logarithm over the reference's top ten, of an fp32 graph."""

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

    def kept(self) -> bool:
        """Whether the tolerances hold. NaN keeps nothing."""
        return self.max_dp <= MAX_DP and self.max_dlogp <= MAX_DLOGP


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
    return Parity(
        images=len(reference),
        max_dp=float(np.abs(reference - other).max()),
        max_dlogp=float(np.abs(logs - other_logs).max()),
        top1_agreement=float((order[:, 0] == other_order[:, 0]).mean()),
        top5_agreement=float(fives.all(axis=1).mean()),
    )
