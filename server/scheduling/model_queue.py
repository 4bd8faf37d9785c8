"""ModelQueue: the images that wait for one model version, and how they are bound into batches."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from server.errors import ServingError
from server.scheduling.batch import Batch, Item, Reason, Start
from server.scheduling.deadline import too_late
from server.scheduling.fair_queue import FairQueue
from server.scheduling.latency import LatencyModel

_HOPELESS = 0.5
"""An image with less time left than this share of one image's run time is not run: its deadline cannot be met."""


class ModelQueue:
    """Its device owns the lock. `put`, `withdraw`, `fail_all` and `bind` are called with that lock held.

    All run on the event loop except `bind`, which runs in lane threads. The other methods only read: on the loop, with
    or without the lock, and in lane threads.
    """

    def __init__(
        self,
        starts: Sequence[Start],
        latency: LatencyModel,
        max_batch: int,
        done: Callable[[int, Batch], None],
    ) -> None:
        """`starts`: for each lane, the function that begins a batch on its engine. `done(lane, batch)` is called
        on the event loop, when all images of the batch have their outcome.
        """
        self.max_batch = max_batch
        self._starts = starts
        self._latency = latency
        self._done = done
        self._waiting: FairQueue[Item] = FairQueue()
        self._bound = 0  # images, since the start; written by lane threads alone
        self._answered = 0  # of those; written by the event loop alone
        self._loop = asyncio.get_running_loop()

    def waiting(self) -> int:
        """How many images wait for a batch."""
        return len(self._waiting)

    def in_engine(self) -> int:
        """How many images are bound to a batch and not yet answered."""
        return self._bound - self._answered

    def needs_s(self, images: int) -> float:
        """Predicted seconds for so many images in one lane, in full batches."""
        return self._latency.seconds(images)

    def put(self, item: Item) -> None:
        self._waiting.put(item)

    def withdraw(self, item: Item) -> bool:
        """Take an item out of the queue; False where a batch has it already."""
        return self._waiting.withdraw(item)

    def fail_all(self, error: ServingError) -> None:
        """Fail every item that waits."""
        while item := self._waiting.take():
            item.fail(error)

    def bind(self, lane: int, idle_since_s: float | None) -> Batch | None:
        """The next batch for the engine of that lane, or None where no image that waits can still be answered in time.

        It is a full batch where enough images wait, but no larger than the most urgent of them has time for.
        `idle_since_s`: since when the lane has had nothing to do; None while it is busy. Runs in a lane thread.
        """
        now_s = time.monotonic()
        items = self._take(now_s)
        if not items:
            return None
        bound = self._in_time(items, now_s)
        self._bound += len(bound)
        reason = self._reason(items, bound, idle_since_s)
        done = partial(self._count, lane)
        return Batch(bound, reason, self.needs_s(len(bound)), self._starts[lane], done, self._loop)

    def _take(self, now_s: float) -> list[Item]:
        """Up to a full batch of items. Those whose deadline cannot be met fail instead."""
        items: list[Item] = []
        hopeless_s = now_s + self.needs_s(1) * _HOPELESS
        while len(items) < self.max_batch and (item := self._waiting.take()):
            if item.deadline.at_s > hopeless_s:
                items.append(item)
            else:
                self._loop.call_soon_threadsafe(item.fail, too_late())
        return items

    def _in_time(self, items: list[Item], now_s: float) -> list[Item]:
        """The most urgent items, as many as end before the first deadline; the others go back to the queue."""
        left_s = min(item.deadline.at_s for item in items) - now_s
        count = next((n for n in range(len(items), 0, -1) if self.needs_s(n) <= left_s), len(items))
        if count == len(items):
            return items
        urgent = sorted(items, key=lambda item: item.deadline.at_s)[:count]
        for item in reversed(items):
            if item not in urgent:
                self._waiting.put_back(item)
        return urgent

    def _reason(self, taken: list[Item], bound: list[Item], idle_since_s: float | None) -> Reason:
        if len(bound) < len(taken):
            return Reason.DEADLINE
        if idle_since_s is not None and min(item.ready_at_s for item in bound) >= idle_since_s:
            return Reason.IDLE
        return Reason.FULL if len(bound) == self.max_batch else Reason.ENGINE_FREE

    def _count(self, lane: int, batch: Batch) -> None:
        """On the event loop."""
        self._answered += len(batch.items)
        if batch.ran and not batch.failed:
            self._latency.saw(batch.ran, batch.infer_s)
        self._done(lane, batch)
