"""Engine: computes Probabilities from Pixels. This is the protocol that each engine keeps, and its errors."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from bundle.images import Pixels
from bundle.predictions import Probabilities


class Engine(Protocol):
    """What a batch needs. One thread at a time calls `run`; it may raise anything.

    That is a lane thread, or the loading thread for the probe and the timing: `run` must not touch the event loop.
    """

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def run(self, pixels: Pixels) -> Probabilities:
        """From (n, height, width, 3) to (n, classes), with the rows in the order of the images."""
        ...


@runtime_checkable
class Overlapping(Engine, Protocol):
    """An engine that can begin with a batch before the previous one is done."""

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Begin as far as there is room, and return at once. The returned function waits for the rows.

        A lane's two threads take turns at it: one may begin while the other waits for its rows.
        """
        ...


class EngineFailed(Exception):
    """An engine raised an error, or answered with something that is not probabilities of these images.

    The message goes to callers and says nothing about this machine. The cause, chained to it, is for the log.
    """


class EngineLost(EngineFailed):
    """The engine cannot work again in this process."""


def start(engine: Engine, pixels: Pixels, classes: int) -> Callable[[], Probabilities]:
    """Begin with a batch where the engine can begin ahead. The returned function waits for the rows, and returns or
    raises as `run_checked` does.
    """
    rows = engine.start(pixels) if isinstance(engine, Overlapping) else partial(engine.run, pixels)
    return partial(_checked, engine, rows, len(pixels), classes)


def run_checked(engine: Engine, pixels: Pixels, classes: int) -> Probabilities:
    """Run, and check the rows. Raises EngineFailed for any exception, a wrong shape, and values that are not finite."""
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
