"""Agreement: how far a shadow agrees with the version that answered, on the same photos."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.predictions import Probabilities

_TOP = 5
_LEAST_P = 1e-10  # a probability that float32 cannot hold counts as this


class Pair(NamedTuple):
    """The version of a model that answered for an alias, and the shadow."""

    alias: str
    model: str
    version: str
    shadow: str


@dataclass(slots=True)
class Sums:
    """Of values: their sum, and the sum of their squares. Sums of several processes add up."""

    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.total += value
        self.squares += value * value


@dataclass(slots=True)
class Agreement:
    """Of one pair. `passed_over`: photos that were answered while the shadow was busy or rested.

    `top1`: photos with the same most probable class. `top5`: photos where the most probable class of each is among the
    five of the other. `delta_log_p`: of the class that the answer named, log p of the shadow minus that of the answer.
    """

    compared: int = 0
    failed: int = 0
    passed_over: int = 0
    top1: int = 0
    top5: int = 0
    delta_log_p: Sums = field(default_factory=Sums)
    answer_s: Sums = field(default_factory=Sums)
    shadow_s: Sums = field(default_factory=Sums)

    def add(self, answer: Probabilities, shadow: Probabilities, answer_s: float, shadow_s: float) -> None:
        """Two rows (classes,) for one photo, with classes in the same order, and the seconds in both engines."""
        best, shadow_best = int(answer.argmax()), int(shadow.argmax())
        self.compared += 1
        self.top1 += best == shadow_best
        self.top5 += best in _top(shadow) and shadow_best in _top(answer)
        self.delta_log_p.add(_log(shadow[best]) - _log(answer[best]))
        self.answer_s.add(answer_s)
        self.shadow_s.add(shadow_s)


def order(labels: Sequence[str], shadow_labels: Sequence[str]) -> NDArray[np.intp] | None:
    """Where the classes of `labels` are among the shadow's; None where the two have other classes."""
    at = {label: index for index, label in enumerate(shadow_labels)}
    if at.keys() != set(labels):
        return None
    return np.array([at[label] for label in labels], np.intp)


def _top(row: Probabilities) -> NDArray[np.intp]:
    return np.argpartition(-row, min(_TOP, len(row)) - 1)[:_TOP]


def _log(probability: float) -> float:
    return math.log(max(float(probability), _LEAST_P))
