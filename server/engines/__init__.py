"""Engine: runs Pixels to probabilities. One file each."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from bundle import parity
from bundle.images import Pixels
from bundle.parity import Parity
from bundle.predictions import Probabilities
from bundle.probe import Probe

_LONGEST_S = 0.125
_ROUNDS = 5
_MEASURING_S, _KNOWN_MEASURING_S = 0.5, 0.1  # the first time, and later ones, whose shortest times come together
_IN_VAIN = 3  # rounds
_SHORTER = 0.98  # of the shortest so far: what counts as a better time
_EQUAL = 1.05
_STAYS = 1.10


class Engine(Protocol):
    """What the batcher needs. `run` is called by one thread at a time; it may raise anything."""

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def run(self, pixels: Pixels) -> Probabilities:
        """(n, height, width, 3) to (n, classes), rows in the order of the images."""
        ...


@runtime_checkable
class Overlapping(Engine, Protocol):
    """An engine that can begin with a batch before the one before it is done."""

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Begin with what there is room for, and return at once; the result waits for the rows."""
        ...


class EngineFailed(Exception):
    """An engine raised, or answered with something that is not probabilities of these images.

    The message goes to callers and says nothing of this machine; the cause, chained to it, is for the log.
    """


class EngineLost(EngineFailed):
    """The engine cannot be made to work again in this process."""


def start(engine: Engine, pixels: Pixels, classes: int) -> Callable[[], Probabilities]:
    """Begin with a batch where the engine can do so ahead; the result gives the rows as `run_checked` does."""
    rows = engine.start(pixels) if isinstance(engine, Overlapping) else partial(engine.run, pixels)
    return partial(_checked, engine, rows, len(pixels), classes)


def run_checked(engine: Engine, pixels: Pixels, classes: int) -> Probabilities:
    """Run, and trust nothing: raises EngineFailed for an exception, a wrong number of rows or classes, or NaN."""
    return _checked(engine, partial(engine.run, pixels), len(pixels), classes)


def _checked(engine: Engine, run: Callable[[], Probabilities], images: int, classes: int) -> Probabilities:
    try:
        rows = run()
    except EngineLost:
        raise
    except Exception as error:
        raise EngineFailed(f"{engine.name} raised {type(error).__name__}") from error
    if rows.shape != (images, classes):
        raise EngineFailed(f"{engine.name} answered {rows.shape} to {images} images of {classes} classes")
    if not np.isfinite(rows).all():
        raise EngineFailed(f"{engine.name} answered with values that are not finite")
    return rows


def measure(engine: Engine, pixels: Pixels, most: int) -> dict[int, float]:
    """Seconds of batches of 1, 2, 4 … images as measured now, up to the size that `best_batch` names."""
    seconds = time_batches(engine, pixels, most)
    best = best_batch(seconds)
    return {size: seconds[size] for size in seconds if size <= best}


def time_batches(engine: Engine, pixels: Pixels, most: int, one_s: float = math.inf) -> dict[int, float]:
    """Seconds of batches of 1, 2, 4 … images: all that are not above `most` and take an eighth of a second or less.

    `one_s`: what one image took in an earlier measurement; the shorter of the two decides which sizes are tried.
    Sizes are timed in turns, each over as many images as the largest has: a shorter stretch would find a quiet moment
    more easily. The shortest stretch of each counts, as the others were disturbed. Rounds end when several in a row
    have found nothing shorter, or when the time is up.
    """
    one = np.resize(pixels, (1, *pixels.shape[1:]))
    engine.run(one)
    measuring_s = _MEASURING_S if one_s == math.inf else _KNOWN_MEASURING_S
    one_s = min(one_s, *(_seconds(engine, one, 1) for _ in range(_ROUNDS)))
    sizes = [1 << power for power in range(max(1, min(most, int(_LONGEST_S / one_s))).bit_length())]
    batches = {size: np.resize(pixels, (size, *pixels.shape[1:])) for size in sizes}
    shortest = dict.fromkeys(sizes, math.inf)
    ends_s, in_vain = time.monotonic() + measuring_s, -1
    while in_vain < _IN_VAIN and (in_vain < 0 or time.monotonic() < ends_s):
        found = {size: _seconds(engine, batch, sizes[-1] // size) for size, batch in batches.items()}
        in_vain = 0 if any(found[size] < _SHORTER * shortest[size] for size in sizes) else in_vain + 1
        shortest = {size: min(found[size], shortest[size]) for size in sizes}
    return shortest


def best_batch(seconds: Mapping[int, float], kept: int = 0) -> int:
    """The largest size that costs at most 5 % more per image than the best one.

    Among equals the largest, as it is the one that other work on the same cores disturbs least. `kept` is the size that
    was chosen before: it stays until another one is better by more than a tenth, so that noise cannot change it.
    """
    cost = {size: seconds[size] / size for size in seconds}
    best = min(cost.values())
    if kept in cost and cost[kept] <= _STAYS * best:
        return kept
    return max(size for size in cost if cost[size] <= _EQUAL * best)


def _seconds(engine: Engine, pixels: Pixels, runs: int) -> float:
    """Of one run, in the mean of so many."""
    started_s = time.perf_counter()
    for _ in range(runs):
        engine.run(pixels)
    return (time.perf_counter() - started_s) / runs


def check(engine: Engine, probe: Probe, max_batch: int) -> Parity:
    """Warm the engine up on the bundle's probe, alone and in batches, and compare with the exporter's answers.

    Raises EngineFailed when the engine does not keep the tolerances of `bundle.parity`.
    """
    classes = probe.probabilities.shape[1]
    run_checked(engine, probe.pixels[:1], classes)
    starts = range(0, len(probe.pixels), max_batch)
    rows = np.concatenate([run_checked(engine, probe.pixels[at : at + max_batch], classes) for at in starts])
    found = parity.compare(probe.probabilities, rows)
    if not found.kept(engine.precision):
        raise EngineFailed(
            f"{engine.name} in {engine.precision} does not answer the bundle's probe as its export did: max |Δp| "
            f"{found.max_dp:.2g}, max |Δ log p| {found.max_dlogp:.2g}, best class kept for {found.sure_agreement:.1%} "
            f"of {found.sure_images} sure images"
        )
    return found
