"""Engine: runs Pixels to probabilities. One file each."""

import time
from collections.abc import Callable
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
    """Seconds of batches of 1, 2, 4 … images, up to the largest worth waiting for: none is above `most`, takes longer
    than an eighth of a second, or costs 3 % more per image than the best of them.

    Among equals the largest, as it is the one that other work on the same cores disturbs least. Sizes are timed in
    turns, so that a drift of the machine meets them all; the shortest of five runs counts, as others were disturbed.
    """
    one = np.resize(pixels, (1, *pixels.shape[1:]))
    engine.run(one)
    longest = int(_LONGEST_S / min(_seconds(engine, one) for _ in range(_ROUNDS)))
    sizes = [1 << power for power in range(max(1, min(most, longest)).bit_length())]
    batches = {size: np.resize(pixels, (size, *pixels.shape[1:])) for size in sizes}
    rounds = [{size: _seconds(engine, batch) for size, batch in batches.items()} for _ in range(_ROUNDS)]
    shortest = {size: min(found[size] for found in rounds) for size in sizes}
    best = min(shortest[size] / size for size in sizes)
    largest = max(size for size in sizes if shortest[size] / size <= 1.03 * best)
    return {size: shortest[size] for size in sizes if size <= largest}


def _seconds(engine: Engine, pixels: Pixels) -> float:
    started_s = time.perf_counter()
    engine.run(pixels)
    return time.perf_counter() - started_s


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
