"""Batch size: measures how long an engine takes for batches of each size, and finds the best size."""

import math
import time
from collections.abc import Mapping

import numpy as np

from bundle.images import Pixels
from server.engines.engine import Engine

_LONGEST_S = 0.125
_ROUNDS = 5
_MEASURING_S, _KNOWN_MEASURING_S = 0.5, 0.1  # at the first load, and at later ones, which add to its times
_IN_VAIN = 3  # rounds without a shorter time, after which the measuring ends
_SHORTER = 0.98  # of the shortest so far: a time below that is a shorter one
_EQUAL = 1.05  # of the lowest cost per image: costs up to that count as equal
_STAYS = 1.10  # of the lowest cost per image: up to that the former choice stays


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4 … up to `most`."""
    return [1 << power for power in range(most.bit_length())]


def measure(engine: Engine, pixels: Pixels, most: int) -> dict[int, float]:
    """Seconds of batches of 1, 2, 4 … images as measured now, up to the size that `best_batch` names."""
    seconds = time_batches(engine, pixels, most)
    best = best_batch(seconds)
    return {size: seconds[size] for size in seconds if size <= best}


def time_batches(engine: Engine, pixels: Pixels, most: int, one_s: float = math.inf) -> dict[int, float]:
    """Seconds of batches of 1, 2, 4 … images, up to `most`, as long as they should take an eighth of a second or less.

    `one_s`: what one image took in an earlier measurement; the shorter of the two decides which sizes are timed.
    In each round every size is timed over as many images as the largest has: a shorter run would hit a quiet moment of
    the machine more easily. The shortest time of each size counts, since longer ones were disturbed. Rounds end when
    several in a row have found no shorter time, or when the time is up.
    """
    one = np.resize(pixels, (1, *pixels.shape[1:]))
    engine.run(one)
    measuring_s = _MEASURING_S if one_s == math.inf else _KNOWN_MEASURING_S
    one_s = min(one_s, *(_seconds(engine, one, 1) for _ in range(_ROUNDS)))
    sizes = powers_of_two(max(1, min(most, int(_LONGEST_S / one_s))))
    batches = {size: np.resize(pixels, (size, *pixels.shape[1:])) for size in sizes}
    shortest = dict.fromkeys(sizes, math.inf)
    ends_s, in_vain = time.monotonic() + measuring_s, -1
    while in_vain < _IN_VAIN and (in_vain < 0 or time.monotonic() < ends_s):
        found = {size: _seconds(engine, batch, sizes[-1] // size) for size, batch in batches.items()}
        in_vain = 0 if any(found[size] < _SHORTER * shortest[size] for size in sizes) else in_vain + 1
        shortest = {size: min(found[size], shortest[size]) for size in sizes}
    return shortest


def best_batch(seconds: Mapping[int, float], kept: int = 0) -> int:
    """The largest size that costs at most 5 % more per image than the cheapest one.

    Of equal sizes the largest, since other work on the same cores disturbs it least. `kept` is the size that was chosen
    before: it stays until another size is better by more than a tenth, so that noise cannot change the choice.
    """
    cost = {size: seconds[size] / size for size in seconds}
    best = min(cost.values())
    if kept in cost and cost[kept] <= _STAYS * best:
        return kept
    return max(size for size in cost if cost[size] <= _EQUAL * best)


def _seconds(engine: Engine, pixels: Pixels, runs: int) -> float:
    """The mean seconds of so many runs."""
    started_s = time.perf_counter()
    for _ in range(runs):
        engine.run(pixels)
    return (time.perf_counter() - started_s) / runs
