"""Predictions: the most probable classes of a row of probabilities, with their labels."""

from collections import Counter
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


VOTERS = 10
"""The classes that vote on a photo's group, as in the official Places365 demo (run_placesCNN_unified.py)."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The group that most of a photo's ten most probable classes belong to, and how many of them."""

    group: str
    votes: int
    voters: int


def vote(row: Probabilities, labels: Sequence[Label]) -> Vote | None:
    """None where the labels have no groups.

    Of two groups with equal votes it is the later in the alphabet: five indoor and five outdoor classes are outdoor, as
    the official demo's mean of 0.5 is.
    """
    best = top(row, labels, VOTERS)
    groups = Counter(group for prediction in best if (group := labels[prediction.index].group) is not None)
    if not groups:
        return None
    group, votes = max(groups.items(), key=lambda item: (item[1], item[0]))
    return Vote(group, votes, groups.total())
