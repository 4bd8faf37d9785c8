"""Batch: images bound together, run at once, each row of the result to its own caller."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bundle.images import Picture, Pixels
from bundle.predictions import Probabilities
from server.engines import EngineLost
from server.errors import Code, ServingError
from server.waiting import Caller

log = logging.getLogger(__name__)

Start = Callable[[Pixels], Callable[[], Probabilities]]
"""Begins with a batch if its engine can while it has another, and returns what waits for the rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image's answer from the engine: (classes,) probabilities, its waiting, and the batch it was part of."""

    probabilities: Probabilities
    queue_s: float
    infer_s: float
    batch: int


class Deadline:
    """Until when an answer is wanted, on the monotonic clock. Later, when somebody more patient wants it too."""

    __slots__ = ("at_s",)

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def extend(self, at_s: float) -> None:
        self.at_s = max(self.at_s, at_s)


class Item:
    """A waiting image. Its future travels with it and is never cancelled.

    A caller who leaves takes the item out of the queue, or, where a batch has it already, marks it as `left`.
    """

    __slots__ = ("caller", "deadline", "future", "left", "picture", "ready_at_s")

    work = 1.0  # all images cost an engine the same

    def __init__(self, picture: Picture, caller: Caller, deadline: Deadline, future: "asyncio.Future[Row]") -> None:
        self.picture = picture
        self.caller = caller
        self.deadline = deadline
        self.future = future
        self.left = False
        self.ready_at_s = time.monotonic()

    def answer(self, row: Row) -> None:
        if not self.future.done():  # its engine hung, and it was told so
            self.future.set_result(row)

    def fail(self, error: ServingError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Reason(StrEnum):
    """Why a batch left with the images it has."""

    IDLE = "idle"
    ENGINE_FREE = "engine_free"
    FULL = "full"
    DEADLINE = "deadline"


class Batch:
    """Bound and run by a device's thread; `done` is called on the event loop when its items have their outcomes.

    `ran` is how many went through the engine: those whose callers had left before it was prepared did not.
    """

    def __init__(
        self, items: Sequence[Item], reason: Reason, expected_s: float, start: Start, done: "Callable[[Batch], None]"
    ) -> None:
        self.items = items
        self.reason = reason
        self.expected_s = expected_s
        self.ran = 0
        self.infer_s = 0.0
        self.failed = False
        self.lost = False  # and with it the engine, to this process
        self._start = start
        self._done = done
        self._wanted: Sequence[Item] = ()
        self._rows: Callable[[], Probabilities] | None = None
        self._loop = items[0].future.get_loop()

    def prepare(self) -> None:
        """Put the pictures side by side in memory and begin, if the engine can while it still has another batch."""
        self._wanted = [item for item in self.items if not item.left]
        with contextlib.suppress(Exception):  # `run` will meet it again, and tell the callers
            self._rows = self._start(_stacked(self._wanted))

    def run(self) -> None:
        """Through the engine. Never raises: the callers are told, and the thread goes on."""
        began_s = time.monotonic()
        outcome = self._outcome() if self._wanted else _GONE
        self.infer_s = time.monotonic() - began_s
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, outcome, began_s)

    def _outcome(self) -> Probabilities | ServingError:
        try:
            rows = self._rows or self._start(_stacked(self._wanted))
            return rows()
        except Exception as error:
            self.lost = isinstance(error, EngineLost)
            log.error("the engine failed on a batch of %d images", len(self._wanted), exc_info=error)
            return ServingError(Code.ENGINE_FAILED, "The engine failed on this batch: try again.")

    def _deliver(self, outcome: Probabilities | ServingError, began_s: float) -> None:
        self.ran = len(self._wanted)
        self.failed = outcome is not _GONE and isinstance(outcome, ServingError)
        for index, item in enumerate(self._wanted):
            if isinstance(outcome, ServingError):
                item.fail(outcome)
            else:
                item.answer(Row(outcome[index], began_s - item.ready_at_s, self.infer_s, self.ran))
        for item in self.items:
            item.fail(_GONE)  # those that have no outcome yet: nobody reads it
        self._done(self)


_GONE = ServingError(Code.INTERNAL, "Its caller had left.")


def _stacked(items: Sequence[Item]) -> Pixels:
    return np.stack([item.picture for item in items])
