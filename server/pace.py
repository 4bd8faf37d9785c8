"""Pace: how long work takes by the number of images in it: measured once, kept current by what is seen since."""

import time
from collections.abc import Callable, Mapping

import numpy as np

_WEIGHT = 0.2  # of the newest piece of work in the mean, if it is of the largest size; smaller ones count for less
_HALF_LIFE_S = 10.0


class Pace:
    """Seconds by number of images, from measurements of some sizes; those between are interpolated.

    What has been seen since goes into one number, `slowness`: an exponentially weighted mean of seen over measured. It
    fades back to 1 while nothing is seen. Otherwise one stall could make every prediction so long that admission
    refuses the very work that would correct it.
    """

    def __init__(self, measured_s: Mapping[int, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._sizes = sorted(measured_s)
        self._measured_s = [measured_s[size] for size in self._sizes]
        self._clock = clock
        self._slowness = 1.0
        self._seen_at_s = clock()

    @property
    def slowness(self) -> float:
        """How many times longer work takes now than when it was measured."""
        age_s = self._clock() - self._seen_at_s
        return 1 + (self._slowness - 1) * float(0.5 ** (age_s / _HALF_LIFE_S))

    def seconds(self, images: float) -> float:
        """What so many images take, one after another in pieces of the largest measured size. 0 for none."""
        return self.slowness * self._expected_s(images)

    def saw(self, images: float, seconds: float) -> None:
        """Learn from one piece of work.

        Pieces count by the time they should take: what disturbed a single image would not make a full batch as slow.
        """
        expected_s = max(1e-9, self._expected_s(images))
        weight = _WEIGHT * expected_s / max(expected_s, self._measured_s[-1])
        self._slowness = (1 - weight) * self.slowness + weight * seconds / expected_s
        self._seen_at_s = self._clock()

    def _expected_s(self, images: float) -> float:
        whole, rest = divmod(max(0, images), self._sizes[-1])
        piece_s = float(np.interp(rest, self._sizes, self._measured_s)) if rest else 0.0
        return whole * self._measured_s[-1] + piece_s
