"""Timing: measures on this GPU how fast different plans of the same network are."""

import math
import statistics
import time
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from bundle.images import Pixels
from trt.runner import Runner

Seconds = dict[str, float]
"""Seconds of a batch, including the copies to and from the GPU, by batch size."""

W = TypeVar("W", bound=str)
_ROUNDS = 15


def measure(runners: Mapping[W, Runner], pixels: Pixels) -> dict[W, Seconds]:
    """The median for each way and batch size. Ways take turns, so that changes of the GPU's clock affect all alike."""
    found: dict[W, Seconds] = {way: {} for way in runners}
    sizes = next(iter(runners.values())).sizes
    for size in sizes:
        batch = np.resize(pixels, (size, *pixels.shape[1:]))
        rounds = [{way: _seconds(runner, batch) for way, runner in runners.items()} for _ in range(_ROUNDS)]
        for way in runners:
            found[way][str(size)] = statistics.median(row[way] for row in rounds[1:])  # the first one warms up
    return found


def fastest(seconds: Mapping[W, Seconds]) -> W:
    """The way with the smallest geometric mean over the batch sizes; the first of equal ones."""
    return min(seconds, key=lambda way: math.fsum(map(math.log, seconds[way].values())))


def _seconds(runner: Runner, batch: Pixels) -> float:
    started_s = time.perf_counter()
    runner.run(batch)
    return time.perf_counter() - started_s
