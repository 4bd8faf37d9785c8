"""Divided: the images of a batch are shared out among the cores, each of which takes its own through the network."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.cores import stand_back

Run = Callable[[Pixels], Probabilities]


class Divided:
    """Runs batches so that no core waits for the others after each layer, as it does where all share every image.

    `alone` is called by several threads at a time and works in the one that calls it; `together` uses all cores and
    takes what cannot be shared out evenly, a single image above all.
    """

    def __init__(self, cores: int, alone: Run, together: Run, at_once: int | None = None) -> None:
        """`at_once`: images in each call of `alone`; None: as many as there are for each core."""
        self._cores = cores
        self._alone = alone
        self._together = together
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(max(1, cores - 1), "engine", stand_back)  # the caller's thread works too

    def __call__(self, pixels: Pixels) -> Probabilities:
        """Rows in the order of the images. Raises what a part raises, when all are done."""
        even = len(pixels) - len(pixels) % self._cores
        rows = self._shared_out(pixels[:even]) if even else []
        if even < len(pixels):
            rows.append(self._together(pixels[even:]))
        return np.concatenate(rows)

    def _shared_out(self, pixels: Pixels) -> list[Probabilities]:
        step = self._at_once or len(pixels) // self._cores
        parts = [pixels[at : at + step] for at in range(0, len(pixels), step)]
        rows: dict[int, Probabilities] = {}
        left = iter(list(enumerate(parts)))  # a list's iterator may be used by all: who is free takes the next part

        def work() -> None:
            for number, part in left:
                rows[number] = self._alone(part)

        others = [self._pool.submit(work) for _ in range(self._cores - 1)]
        try:
            work()
        finally:
            wait(others)
        for other in others:
            other.result()
        return [rows[number] for number in range(len(parts))]
