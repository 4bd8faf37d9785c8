"""Predictions: the most probable classes of a row of probabilities, with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.labels import Label

Probabilities = NDArray[np.float32]  # (n, classes); each row sums to 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class that a photo may show: its output index, its stable id, its name, and how probable it is."""

    index: int
    id: str
    label: str
    probability: float


def top(row: Probabilities, labels: Sequence[Label], k: int) -> tuple[Prediction, ...]:
    """The k most probable classes, best first; of equals the lower index first. `row` is (classes,)."""
    order = np.argsort(-row, kind="stable")[:k]
    return tuple(Prediction(int(i), labels[i].id, labels[i].name, float(row[i])) for i in order)
