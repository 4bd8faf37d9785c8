"""Batch: images that an engine runs together. Each row of the result goes to the caller of its image."""

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bundle.images import Picture, Pixels
from bundle.predictions import Probabilities
from server.engines.engine import EngineLost
from server.errors import Code, ServingError
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Caller
from server.trace import Trace

log = logging.getLogger(__name__)

Start = Callable[[Pixels], Callable[[], Probabilities]]
"""Begins with a batch where the engine can begin ahead, and returns a function that waits for the rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image's answer from the engine: (classes,) probabilities, seconds in the queue, and the seconds and the
    number of images of its batch.
    """

    probabilities: Probabilities
    queue_s: float
    infer_s: float
    batch: int


class Item(ABC):
    """An image that waits for an engine. Whoever submitted it says what becomes of its outcome.

    All methods are called on the event loop; lane threads only read.
    """

    work = 1.0  # all images cost an engine the same

    def __init__(self, picture: Picture, caller: Caller, deadline: Deadline) -> None:
        self.picture = picture
        self.caller = caller
        self.deadline = deadline
        self.abandoned = False
        self.trace: Trace | None = None  # of its request, where spans are recorded
        self.ready_at_s = time.monotonic()

    @abstractmethod
    def answer(self, row: Row) -> None:
        """Called once, unless `fail` was called: an engine that hung may still answer."""

    @abstractmethod
    def fail(self, error: ServingError) -> None:
        """May be called after there is an outcome, and has no effect then."""

    def abandon(self) -> None:
        """Nobody waits for it any more while a batch has it: it is left out if the batch is not laid out yet."""
        self.abandoned = True


class Reason(StrEnum):
    """Why a batch has the images it has: the lane was idle, the lane became free, the batch is full, or a larger one
    would miss a deadline.
    """

    IDLE = "idle"
    ENGINE_FREE = "engine_free"
    FULL = "full"
    DEADLINE = "deadline"


class Batch:
    """Bound, prepared and run by a lane thread. `done` is called on the event loop when all items have their outcome.

    `ran` is how many images went through the engine: all but those that were abandoned before the batch was prepared.
    `ran`, `began_at_s`, `infer_s`, `failed` and `lost` hold from then on.
    """

    def __init__(
        self,
        items: Sequence[Item],
        reason: Reason,
        expected_s: float,
        start: Start,
        done: "Callable[[Batch], None]",
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.items = items
        self.reason = reason
        self.expected_s = expected_s
        self.ran = 0
        self.began_at_s = 0.0
        self.infer_s = 0.0
        self.failed = False
        self.lost = False  # whether the engine cannot work again in this process
        self._start = start
        self._done = done
        self._wanted: Sequence[Item] = ()
        self._rows: Callable[[], Probabilities] | None = None
        self._loop = loop

    def prepare(self) -> None:
        """Lay the pictures out in memory, and begin where the engine can begin ahead. In a lane thread."""
        self._wanted = [item for item in self.items if not item.abandoned]
        with contextlib.suppress(Exception):  # `run` begins once more, and reports what it raises
            self._rows = self._start(_stacked(self._wanted))

    def run(self) -> None:
        """Run the engine, and hand the outcome to the event loop. In a lane thread. Never raises: an error goes to the
        callers.
        """
        self.began_at_s = began_s = time.monotonic()
        outcome = self._outcome() if self._wanted else ABANDONED
        self.infer_s = time.monotonic() - began_s
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, outcome, began_s)

    def recorded(self) -> list[tuple[Trace, float]]:
        """Of those that were run, the traces whose spans are recorded, and when each image was ready."""
        return [(item.trace, item.ready_at_s) for item in self._wanted if item.trace]

    def _outcome(self) -> Probabilities | ServingError:
        try:
            rows = self._rows or self._start(_stacked(self._wanted))
            return rows()
        except Exception as error:
            self.lost = isinstance(error, EngineLost)
            log.error("the engine failed on a batch of %d images", len(self._wanted), exc_info=error)
            return ServingError(Code.ENGINE_FAILED, "The engine failed on this batch: try again.")

    def _deliver(self, outcome: Probabilities | ServingError, began_s: float) -> None:
        """On the event loop."""
        self.ran = len(self._wanted)
        self.failed = outcome is not ABANDONED and isinstance(outcome, ServingError)
        for index, item in enumerate(self._wanted):
            if isinstance(outcome, ServingError):
                item.fail(outcome)
            else:
                item.answer(Row(outcome[index], began_s - item.ready_at_s, self.infer_s, self.ran))
        for item in self.items:
            item.fail(ABANDONED)  # those without an outcome; nobody reads it
        self._done(self)


ABANDONED = ServingError(Code.INTERNAL, "The caller of this image has gone.")


def _stacked(items: Sequence[Item]) -> Pixels:
    return np.stack([item.picture for item in items])
