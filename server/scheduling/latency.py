"""LatencyModel: predicts how long a batch takes from its number of images. It learns from every batch that is run."""

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping

_WEIGHT = 0.2  # of the newest measurement in the mean, for the largest size; smaller sizes count for less
_HALF_LIFE_S = 10.0


class LatencyModel:
    """Seconds by number of images. Some sizes were measured; between them it interpolates.

    What was learned since is one number, `slowness`: an exponentially weighted mean of observed over measured seconds.
    It fades back to 1 while nothing is observed. Otherwise one stall could make every prediction so long that admission
    refuses the very work that would correct it.

    `saw` is called on the event loop only. `seconds` and `slowness` are read by lane threads too, without a lock: what
    was learned is replaced as a whole.
    """

    def __init__(self, measured_s: Mapping[int, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._sizes = sorted(measured_s)
        self._measured_s = [measured_s[size] for size in self._sizes]
        self._clock = clock
        self._learned = 1.0, clock()  # the slowness, and when it was that

    @property
    def slowness(self) -> float:
        """How many times longer work takes now than when it was measured."""
        slowness, at_s = self._learned
        return 1 + (slowness - 1) * float(0.5 ** ((self._clock() - at_s) / _HALF_LIFE_S))

    def seconds(self, images: float) -> float:
        """Predicted seconds of so many images, one after another in batches of the largest measured size. 0 for none.

        Images may be fractions: decode threads count an image's work in them.
        """
        return self.slowness * self._expected_s(images)

    def saw(self, images: float, seconds: float) -> None:
        """Learn from one measurement.

        Its weight is the time that it should have taken: what disturbed a single image would not make a full batch as
        slow.
        """
        expected_s = max(1e-9, self._expected_s(images))
        weight = _WEIGHT * expected_s / max(expected_s, self._measured_s[-1])
        slowness = (1 - weight) * self.slowness + weight * seconds / expected_s
        self._learned = slowness, self._clock()

    def _expected_s(self, images: float) -> float:
        whole, rest = divmod(max(0, images), self._sizes[-1])
        return whole * self._measured_s[-1] + (self._between_s(rest) if rest else 0.0)

    def _between_s(self, images: float) -> float:
        """Interpolated linearly; the time of the smallest size for less than that."""
        at = bisect_left(self._sizes, images)
        if at == 0 or self._sizes[at] == images:
            return self._measured_s[at]
        below, above = self._sizes[at - 1], self._sizes[at]
        share = (images - below) / (above - below)
        return (1 - share) * self._measured_s[at - 1] + share * self._measured_s[at]
