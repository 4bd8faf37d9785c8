"""Statistics: mean and deviation of each gate over photos, and how much of its variance is between classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import SEBlockRow
from explain.network import Gates

Values = NDArray[np.float64]


@dataclass(frozen=True)
class BlockStatistics:
    """The gates of one block. `mean` and `deviation` are over all photos (channels), `class_mean` and
    `class_deviation` over those of each class (classes, channels).

    `specificity` is the share of the gates' variance that is between classes, 0..1, summed over the channels before
    the division: the correlation ratio η². Of N photos of K classes, chance alone gives `chance` = (K - 1) / (N - 1).
    """

    block: SEBlockRow
    mean: Values
    deviation: Values
    class_mean: Values
    class_deviation: Values
    specificity: float
    chance: float

    @property
    def above_chance(self) -> float:
        """The specificity on a scale where chance is 0 and 1 stays 1 (Kelley's ε²). Below 0: less than chance."""
        return (self.specificity - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0


class Sums:
    """The sums from which the statistics of one block follow. They need no photo to be kept."""

    def __init__(self, block: SEBlockRow, classes: int) -> None:
        self._block = block
        self._photos = np.zeros(classes)
        self._sum = np.zeros((classes, block.channels))
        self._squares = np.zeros((classes, block.channels))

    def add(self, gates: Gates, classes: Sequence[int]) -> None:
        """`gates` (n, channels) of n photos, whose classes are numbers below the number of classes."""
        values = gates.astype(np.float64)
        np.add.at(self._photos, classes, 1)
        np.add.at(self._sum, classes, values)
        np.add.at(self._squares, classes, values**2)

    def statistics(self) -> BlockStatistics:
        """Every class must have had a photo."""
        counts = self._photos[:, np.newaxis]
        photos = self._photos.sum()
        mean = self._sum.sum(0) / photos
        class_mean = self._sum / counts
        variance = np.maximum(self._squares.sum(0) / photos - mean**2, 0)
        between = (counts * (class_mean - mean) ** 2).sum(0) / photos
        total = float(variance.sum())
        return BlockStatistics(
            block=self._block,
            mean=mean,
            deviation=np.sqrt(variance),
            class_mean=class_mean,
            class_deviation=np.sqrt(np.maximum(self._squares / counts - class_mean**2, 0)),
            specificity=float(between.sum()) / total if total > 0 else 0.0,
            chance=(len(self._photos) - 1) / (photos - 1) if photos > 1 else 1.0,
        )
