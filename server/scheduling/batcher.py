"""Batcher: one model version's way from a permit to an answer. It admits images, and hands them to its device."""

import asyncio
from collections.abc import Callable, Sequence

from bundle.images import Picture
from server.errors import Code, ServingError
from server.scheduling.admission import Admission
from server.scheduling.batch import Batch, Item, Row, Start
from server.scheduling.deadline import Deadline
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller
from server.scheduling.latency import LatencyModel
from server.scheduling.model_queue import ModelQueue

_SICK_AFTER = 3  # failed batches in a row


class Permit:
    """The right to have one image answered: reserved before decoding, given back exactly once."""

    __slots__ = ("_batcher", "_held", "caller", "deadline")

    def __init__(self, batcher: "Batcher", caller: Caller, deadline: Deadline) -> None:
        self.caller = caller
        self.deadline = deadline
        self._batcher = batcher
        self._held = True

    async def submit(self, picture: Picture) -> Row:
        """The engine's answer. Never refused; raises ServingError when the engine fails, or time has run out.

        When the caller is cancelled its image leaves the queue. If a batch has the image already, this returns when
        that batch ends.
        """
        return await self._batcher.submit(picture, self)

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("A permit was given back twice. This is a bug.")
        self._held = False
        self._batcher.admission.give_back(self.caller)


class Batcher:
    """All of it runs on the event loop. What lane threads need is in its `queue`."""

    def __init__(
        self,
        starts: Sequence[Start],
        device: Device,
        latency: LatencyModel,
        max_batch: int,
        admission: Admission,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        """`starts`: for each lane, the function that begins a batch on its engine. `observe` is called after each batch
        that was run.
        """
        if len(starts) != device.lanes:
            raise ValueError(f"{len(starts)} engines for {device.lanes} lanes. This is a bug.")
        self.admission = admission
        self.queue = ModelQueue(starts, latency, max_batch, self._done)
        self._device = device
        self._observe = observe
        self._faults = [0] * len(starts)  # in a row, by lane: engines that work must not hide one that fails
        self._loop = asyncio.get_running_loop()
        device.attach(self.queue)

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
    ) -> list[Permit]:
        """A permit for each image, or none at all. `decoded_in_s`: how long until so many of them are decoded.

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
        return [Permit(self, caller, Deadline(deadline_s)) for _ in range(images)]

    async def submit(self, picture: Picture, permit: Permit) -> Row:
        """See `Permit.submit`."""
        if self._device.hung:
            raise _hangs()
        item = Item(picture, permit.caller, permit.deadline, self._loop.create_future())
        self._device.put(self.queue, item)
        try:
            await asyncio.wait((item.future,))
        except asyncio.CancelledError:
            if not self._device.withdraw(self.queue, item):
                item.abandon()
                await asyncio.wait((item.future,))
                item.future.exception()  # mark it as seen, or asyncio logs it
            raise
        try:
            return item.future.result()
        finally:
            del item  # its error would hold this frame, and the frame the error and the picture

    async def retire(self) -> None:
        """Returns when all admitted images are answered, and the engine may go."""
        await self.admission.close()
        self._device.detach(self.queue)

    def drain_s(self) -> float:
        """How long until all admitted images are answered."""
        owed = self.admission.taken - self.queue.in_engine()
        return max(self._device.left_s(), self._device.free_in_s(self.queue, owed))

    def _done(self, lane: int, batch: Batch) -> None:
        if not batch.ran:
            return
        self._observe(batch)
        self._faults[lane] = self._faults[lane] + 1 if batch.failed else 0
        if batch.lost:
            self._device.mark_lost()

    def _answered_in_s(self, images: int, caller: Caller, decoded_in_s: float) -> float:
        """How long until the last of so many new images of a caller would be answered."""
        ahead = max(0, self.admission.ahead(images, caller) - self.queue.in_engine())
        batches = -(-images // self.queue.max_batch)
        most_in_a_lane = min(images, -(-batches // self._device.lanes) * self.queue.max_batch)
        return max(self._device.free_in_s(self.queue, ahead), decoded_in_s) + self.queue.needs_s(most_in_a_lane)


def _hangs() -> ServingError:
    return ServingError(Code.ENGINE_FAILED, "The engine does not answer any more: send the request elsewhere.")
