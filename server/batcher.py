"""Batcher: the queue of one model. It admits images, groups those that wait into batches, and answers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from bundle.images import Picture
from server.admission import Admission, too_late
from server.batch import Batch, Deadline, Item, Reason, Row, Start
from server.device import Device
from server.errors import Code, ServingError
from server.pace import Pace
from server.waiting import Caller, Waiting

_SICK_AFTER = 3  # failed batches in a row
_HARDLY = 0.5  # of the time that one image takes: with less left an image is not begun


class Place:
    """The right to have one image answered: reserved before decoding, given back exactly once."""

    __slots__ = ("_batcher", "_held", "caller", "deadline")

    def __init__(self, batcher: "Batcher", caller: Caller, deadline: Deadline) -> None:
        self.caller = caller
        self.deadline = deadline
        self._batcher = batcher
        self._held = True

    async def submit(self, picture: Picture) -> Row:
        """The engine's answer. Cannot be refused; raises ServingError when the engine fails, or time has run out.

        A cancelled caller's image leaves the queue; if it is already in the engine this returns when its batch ends.
        """
        return await self._batcher.answer(picture, self)

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("A place was given back twice. This is a bug.")
        self._held = False
        self._batcher.admission.give_back(self.caller)


class Batcher:
    """Lives on the event loop, but for what its device calls (see `device.Line`)."""

    def __init__(
        self,
        starts: Sequence[Start],
        device: Device,
        pace: Pace,
        max_batch: int,
        admission: Admission,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        """`starts`: an engine's for each lane of the device."""
        if len(starts) != device.lanes:
            raise ValueError(f"{len(starts)} engines for {device.lanes} lanes. This is a bug.")
        self.max_batch = max_batch
        self.admission = admission
        self._starts = starts
        self._device = device
        self._pace = pace
        self._observe = observe
        self._waiting: Waiting[Item] = Waiting()
        self._bound = self._answered = 0  # images, counted by the device's threads and by the loop
        self._faults = [0] * len(starts)  # in a row, by lane: engines that work must not hide one that fails
        self._loop = asyncio.get_running_loop()
        device.attach(self)

    @property
    def sick(self) -> bool:
        """Whether an engine failed so often in a row that new work is better sent elsewhere."""
        return max(self._faults) >= _SICK_AFTER or self._device.hung

    def reserve(
        self,
        images: int,
        caller: Caller,
        deadline_s: float,
        decoded_in_s: Callable[[int], float] = lambda images: 0.0,
        patient: bool = False,
    ) -> list[Place]:
        """A place for each image, or none at all. `decoded_in_s`: how long until so many of them are decoded.

        Raises ServingError as `Admission.take` does, and ENGINE_FAILED where the engine hangs.
        """
        if self._device.hung:
            raise _hangs()
        self.admission.take(
            images,
            caller,
            deadline_s,
            lambda images: self._answered_in_s(images, caller, decoded_in_s(images)),
            patient,
        )
        return [Place(self, caller, Deadline(deadline_s)) for _ in range(images)]

    async def retire(self) -> None:
        """Returns when all that was admitted is answered, and the engine may go."""
        await self.admission.close()
        self._device.detach(self)

    def drain_s(self) -> float:
        """How long until all that is admitted is answered."""
        owed = self.admission.taken - self._in_engine()
        return max(self._device.left_s(), self._device.free_in_s(self, owed))

    async def answer(self, picture: Picture, place: Place) -> Row:
        if self._device.hung:
            raise _hangs()
        item = Item(picture, place.caller, place.deadline, self._loop.create_future())
        self._device.put(self, item)
        try:
            await asyncio.wait((item.future,))
        except asyncio.CancelledError:
            if not self._device.withdraw(self, item):
                item.left = True
                await asyncio.wait((item.future,))
                item.future.exception()  # seen: asyncio shall not log it
            raise
        try:
            return item.future.result()
        finally:
            del item  # else its error would hold this frame, which holds the error and the picture

    def waits(self) -> int:
        return len(self._waiting)

    def needs_s(self, images: int) -> float:
        return self._pace.seconds(images)

    def put(self, item: Item) -> None:
        self._waiting.put(item)

    def withdraw(self, item: Item) -> bool:
        return self._waiting.withdraw(item)

    def empty(self, error: ServingError) -> None:
        while item := self._waiting.take():
            item.fail(error)

    def bind(self, lane: int, idle_since_s: float | None) -> Batch | None:
        """What waits, up to a full batch: without the images whose time has run out, and not more of them than the
        most urgent one has time for.
        """
        now_s = time.monotonic()
        items = self._take(now_s)
        if not items:
            return None
        fitting = self._in_time(items, now_s)
        self._bound += len(fitting)
        reason = self._reason(items, fitting, idle_since_s)
        return Batch(fitting, reason, self.needs_s(len(fitting)), self._starts[lane], partial(self._done, lane))

    def _take(self, now_s: float) -> list[Item]:
        items: list[Item] = []
        hopeless_s = now_s + self.needs_s(1) * _HARDLY
        while len(items) < self.max_batch and (item := self._waiting.take()):
            if item.deadline.at_s > hopeless_s:
                items.append(item)
            else:
                self._loop.call_soon_threadsafe(item.fail, too_late())
        return items

    def _in_time(self, items: list[Item], now_s: float) -> list[Item]:
        left_s = min(item.deadline.at_s for item in items) - now_s
        count = next((n for n in range(len(items), 0, -1) if self.needs_s(n) <= left_s), len(items))
        if count == len(items):
            return items
        urgent = sorted(items, key=lambda item: item.deadline.at_s)[:count]
        for item in reversed(items):
            if item not in urgent:
                self._waiting.put_back(item)
        return urgent

    def _reason(self, taken: list[Item], fitting: list[Item], idle_since_s: float | None) -> Reason:
        if len(fitting) < len(taken):
            return Reason.DEADLINE
        if idle_since_s is not None and min(item.ready_at_s for item in fitting) >= idle_since_s:
            return Reason.IDLE
        return Reason.FULL if len(fitting) == self.max_batch else Reason.ENGINE_FREE

    def _done(self, lane: int, batch: Batch) -> None:
        self._answered += len(batch.items)
        if not batch.ran:
            return
        self._observe(batch)
        if batch.failed:
            self._faults[lane] += 1
            self._device.lost = self._device.lost or batch.lost
        else:
            self._faults[lane] = 0
            self._pace.saw(batch.ran, batch.infer_s)

    def _in_engine(self) -> int:
        return self._bound - self._answered

    def _answered_in_s(self, images: int, caller: Caller, decoded_in_s: float) -> float:
        """How long until the last of so many new images of a caller would be answered."""
        ahead = max(0, self.admission.ahead(images, caller) - self._in_engine())
        batches = -(-images // self.max_batch)
        most_in_a_lane = min(images, -(-batches // self._device.lanes) * self.max_batch)
        return max(self._device.free_in_s(self, ahead), decoded_in_s) + self.needs_s(most_in_a_lane)


def _hangs() -> ServingError:
    return ServingError(Code.ENGINE_FAILED, "The engine does not answer any more: send the request elsewhere.")
