"""Batcher: groups waiting images for one engine. Device: the thread that runs the engines, one batch at a time.

There is no timer. While the device is idle an image leaves at once; while it is busy images gather, and the next batch
is bound by the device's own thread in the moment it is free, from what waits then.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bundle.images import Picture, Pixels
from bundle.predictions import Probabilities
from server.errors import Code, ServingError

log = logging.getLogger(__name__)

Run = Callable[[Pixels], Probabilities]


@dataclass(frozen=True, slots=True)
class Row:
    """One image's answer from the engine: (classes,) probabilities, its waiting, and the batch it was part of."""

    probabilities: Probabilities
    queue_s: float
    infer_s: float
    batch: int


class _Item:
    """A waiting image. Its future travels with it and is never cancelled: a caller who leaves takes the item out."""

    __slots__ = ("future", "picture", "ready_at_s")

    def __init__(self, picture: Picture, future: "asyncio.Future[Row]") -> None:
        self.picture = picture
        self.future = future
        self.ready_at_s = time.perf_counter()


class Device:
    """One thread for all batchers on a device. Of those with waiting images the one that waited longest goes first."""

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._batchers: list[Batcher] = []
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def attach(self, batcher: "Batcher") -> None:
        with self._changed:
            self._batchers.append(batcher)

    def put(self, waiting: deque[_Item], item: _Item) -> None:
        with self._changed:
            waiting.append(item)
            self._changed.notify()

    def withdraw(self, waiting: deque[_Item], item: _Item) -> bool:
        """Whether the item was still waiting, and is not any more."""
        with self._changed:
            try:
                waiting.remove(item)
            except ValueError:
                return False
            return True

    def _work(self) -> None:
        while True:
            batcher, items = self._next_batch()
            batcher.run(items)

    def _next_batch(self) -> "tuple[Batcher, list[_Item]]":
        with self._changed:
            while not (ready := [batcher for batcher in self._batchers if batcher.waiting]):
                self._changed.wait()
            first = min(ready, key=lambda batcher: batcher.waiting[0].ready_at_s)
            return first, [first.waiting.popleft() for _ in range(min(len(first.waiting), first.max_batch))]


class Place:
    """The right to have one image answered: reserved before decoding, given back exactly once."""

    __slots__ = ("_batcher", "_held")

    def __init__(self, batcher: "Batcher") -> None:
        self._batcher = batcher
        self._held = True

    async def submit(self, picture: Picture) -> Row:
        """The engine's answer. Cannot be refused; raises ServingError when the engine fails.

        A cancelled caller's image leaves the queue; if it is already in the engine this returns when its batch ends.
        """
        return await self._batcher.answer(picture)

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("A place was given back twice. This is a bug.")
        self._held = False
        self._batcher.give_back()


class Batcher:
    """The queue of one engine: `places` images at most between admission and answer, `max_batch` of them in a batch."""

    def __init__(
        self,
        run: Run,
        device: Device,
        places: int,
        max_batch: int,
        observe_batch: Callable[[int], None] = lambda images: None,
    ) -> None:
        self.waiting: deque[_Item] = deque()
        self.max_batch = max_batch
        self.taken = 0
        self._run = run
        self._device = device
        self._places = places
        self._observe_batch = observe_batch
        self._loop = asyncio.get_running_loop()
        device.attach(self)

    def reserve(self, images: int) -> list[Place]:
        """A place for each image, or none at all: raises ServingError when fewer are free."""
        if self.taken + images > self._places:
            raise ServingError(
                Code.QUEUE_FULL,
                f"{self.taken} of {self._places} places are taken: try again in a moment, or send fewer images.",
                retry_after_s=1,
            )
        self.taken += images
        return [Place(self) for _ in range(images)]

    def give_back(self) -> None:
        self.taken -= 1

    async def answer(self, picture: Picture) -> Row:
        item = _Item(picture, self._loop.create_future())
        self._device.put(self.waiting, item)
        try:
            await asyncio.wait((item.future,))
        except asyncio.CancelledError:
            if not self._device.withdraw(self.waiting, item):
                await asyncio.wait((item.future,))
                item.future.exception()  # seen: asyncio shall not log it
            raise
        return item.future.result()

    def run(self, items: Sequence[_Item]) -> None:
        """One batch through the engine; called by the device's thread."""
        started_s = time.perf_counter()
        rows: Probabilities | ServingError
        try:
            rows = self._run(np.stack([item.picture for item in items]))
        except Exception as error:  # of whatever kind: these callers are told, and the thread goes on
            log.error("the engine failed on a batch of %d images", len(items), exc_info=error)
            rows = ServingError(Code.ENGINE_FAILED, "The engine failed on this batch: try again.")
        infer_s = time.perf_counter() - started_s
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, items, rows, started_s, infer_s)

    def _deliver(
        self, items: Sequence[_Item], rows: Probabilities | ServingError, started_s: float, infer_s: float
    ) -> None:
        self._observe_batch(len(items))
        for index, item in enumerate(items):
            if isinstance(rows, ServingError):
                item.future.set_exception(rows)
            else:
                item.future.set_result(Row(rows[index], started_s - item.ready_at_s, infer_s, len(items)))
