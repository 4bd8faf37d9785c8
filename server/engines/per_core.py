"""PerCoreEngine: splits a batch among the cores. Each core runs the whole network on its own images."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.host.cores import Niceness, lower_priority

Run = Callable[[Pixels], Probabilities]


class PerCoreEngine:
    """Runs batches so that no core waits for the others after each layer, as it does where all cores share every image.

    `alone` runs in the thread that calls it, and several threads call it at a time. `together` uses all cores. It takes
    the rest of a batch that would leave at least half of the cores without work, such as a single image.
    """

    def __init__(self, cores: int, alone: Run, together: Run, at_once: int | None = None) -> None:
        """`at_once`: images in each call of `alone`; None divides them evenly among the cores."""
        self._cores = cores
        self._alone = alone
        self._together = together
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(cores, "engine", lower_priority, (Niceness.ENGINE,))

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Queue the images for the cores' threads. The returned function waits, and gives the rows in order.

        It raises what any part raises. `together` runs in the thread that waits.
        """
        rest = len(pixels) % self._cores
        if rest > self._cores // 2:
            rest = 0
        shared, left = np.split(pixels, [len(pixels) - rest])
        step = self._at_once or max(1, -(-len(shared) // self._cores))
        parts = [self._pool.submit(self._alone, shared[at : at + step]) for at in range(0, len(shared), step)]

        def rows() -> Probabilities:
            found = [part.result() for part in parts]
            if rest:
                found.append(self._together(left))
            return np.concatenate(found)

        return rows

    def run(self, pixels: Pixels) -> Probabilities:
        return self.start(pixels)()
