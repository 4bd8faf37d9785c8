"""Divided: the images of a batch are shared out among the cores, each of which takes its own through the network."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.cores import stand_back

Run = Callable[[Pixels], Probabilities]


class Divided:
    """Runs batches so that no core waits for the others after each layer, as it does where all share every image.

    `alone` is called by several threads at a time and works in the one that calls it; `together` uses all cores and
    takes what would leave at least half of them without work, a single image above all.
    """

    def __init__(self, cores: int, alone: Run, together: Run, at_once: int | None = None) -> None:
        """`at_once`: images in each call of `alone`; None: as many as there are for each core."""
        self._cores = cores
        self._alone = alone
        self._together = together
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(cores, "engine", stand_back)

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Let each core that is free, or as soon as it is, begin; the result waits and has the rows in order.

        It raises what a part raises.
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
