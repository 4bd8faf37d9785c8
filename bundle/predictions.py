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
    """One class that a photo may show: its output index, its stable id, its name, and its probability, 0..1."""

    index: int
    id: str
    label: str
    probability: float


def top(row: Probabilities, labels: Sequence[Label], k: int) -> tuple[Prediction, ...]:
    """The k most probable classes, best first; equal ones by their index. `row` is (classes,)."""
    order = np.argsort(-row, kind="stable")[:k]
    return tuple(Prediction(int(i), labels[i].id, labels[i].name, float(row[i])) for i in order)


VOTERS = 10
"""How many classes vote on a photo's group, as in the official Places365 demo (run_placesCNN_unified.py)."""


@dataclass(frozen=True, slots=True)
class Vote:
    """The group that most of a photo's ten most probable classes belong to; `votes` of `voters` classes."""

    group: str
    votes: int
    voters: int


def vote(row: Probabilities, labels: Sequence[Label]) -> Vote | None:
    """The vote of the most probable classes in `row` (classes,). None where the labels have no groups.

    With equal votes, the group later in the alphabet wins: five indoor and five outdoor classes give outdoor, as a mean
    of 0.5 does in the official demo.
    """
    best = top(row, labels, VOTERS)
    groups = Counter(group for prediction in best if (group := labels[prediction.index].group) is not None)
    if not groups:
        return None
    group, votes = max(groups.items(), key=lambda item: (item[1], item[0]))
    return Vote(group, votes, groups.total())
