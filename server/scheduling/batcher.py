"""Batcher: one model version's way from a permit to an answer. It admits images, and hands them to its device."""

from collections.abc import Callable, Sequence

from bundle.images import Picture
from server.errors import Code, ServingError
from server.scheduling.admission import Admission
from server.scheduling.asked import Asked
from server.scheduling.batch import Batch, Item, Row, Start
from server.scheduling.deadline import Deadline
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import NOW, Forecast
from server.scheduling.latency import LatencyModel
from server.scheduling.model_queue import ModelQueue
from server.scheduling.permit import Permit, Retired
from server.trace import Trace

_SICK_AFTER = 3  # failed batches in a row


class _Permit:
    """A permit of a batcher in this process."""

    __slots__ = ("_batcher", "_held", "caller", "deadline")

    def __init__(self, batcher: "Batcher", caller: Caller, deadline: Deadline) -> None:
        self.caller = caller
        self.deadline = deadline
        self._batcher = batcher
        self._held = True

    async def submit(self, picture: Picture, trace: Trace | None = None) -> Row:
        return await self._batcher.submit(picture, self, trace)

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
        decoded: Forecast = NOW,
        patient: bool = False,
    ) -> list[Permit]:
        """A permit for each image, or none at all. `decoded`: when they will be ready for the engine.

        The account of the caller pays for them, unless it is patient: `admit` has it pay before. Raises ServingError as
        `Admission.take` and `Account.check` do, and ENGINE_FAILED where the engine hangs. Raises Retired.
        """
        if self._device.hung:
            raise _hangs()
        if self.admission.closed:
            raise Retired
        account = None if patient else caller.account  # a patient caller has paid before it waited
        if account:
            account.check(images)
        self.admission.take(
            images,
            caller,
            deadline_s,
            lambda images: self._answered_in_s(images, caller, decoded.first_s if images == 1 else decoded.all_s),
            patient,
        )
        if account:
            account.spend(images)
        return [_Permit(self, caller, Deadline(deadline_s)) for _ in range(images)]

    async def submit(self, picture: Picture, permit: Permit, trace: Trace | None = None) -> Row:
        """See `Permit.submit`."""
        item = Asked(picture, permit.caller, permit.deadline, self.withdraw)
        item.trace = trace
        self.put(item)
        try:
            return await item
        finally:
            del item  # its error would hold this frame, and the frame the error and the picture

    def put(self, item: Item) -> None:
        """Have an image answered for which there is a permit. It fails at once if the engine hangs."""
        if self._device.hung:
            item.fail(_hangs())
        else:
            self._device.put(self.queue, item)

    def withdraw(self, item: Item) -> bool:
        """Take an image out of the queue; False where a batch has it already."""
        return self._device.withdraw(self.queue, item)

    async def admit(
        self, images: int, caller: Caller, deadline_s: float, decoded: Forecast, patient: bool
    ) -> Sequence[Permit]:
        """See `Queue.admit`."""
        if not patient:
            return self.reserve(images, caller, deadline_s, decoded)
        if caller.account is None:
            return await self._admit_patiently(images, caller, deadline_s, decoded)
        await caller.account.spend_patiently(images, deadline_s)
        try:
            return await self._admit_patiently(images, caller, deadline_s, decoded)
        except BaseException:
            caller.account.refund(images)
            raise

    async def _admit_patiently(
        self, images: int, caller: Caller, deadline_s: float, decoded: Forecast
    ) -> Sequence[Permit]:
        waited = False
        try:
            while True:
                try:
                    return self.reserve(images, caller, deadline_s, decoded, patient=True)
                except ServingError as error:
                    if error.code is not Code.QUEUE_FULL:
                        raise
                waited = True
                await self.admission.wait_for_permit(caller)
        except BaseException:
            if waited:
                self.admission.pass_on()
            raise

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
