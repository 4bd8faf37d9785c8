"""RemoteQueue: the queue of a model version in the core, as the service of a front uses it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from bundle.images import Picture
from server.errors import Code, ServingError
from server.processes.wire import messages as m
from server.processes.wire.region import Region
from server.scheduling.batch import Row
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Caller, Priority
from server.scheduling.forecast import Forecast
from server.scheduling.permit import Permit, Retired
from server.trace import Trace


class Session(Protocol):
    """A connection to the core, with all that is under way in it. When it ends, everything fails."""

    region: Region

    def take_slots(self, count: int) -> list[int] | None:
        """So many slots, or None where fewer are free."""
        ...

    async def slots_freed(self) -> None:
        """Returns when some have been given back, or the connection has ended: the time to try again."""
        ...

    def free_slots(self, slots: Sequence[int]) -> None:
        """Their permits have been given back, or were refused."""
        ...

    def send(self, message: m.Message) -> None: ...

    def number(self, caller: Caller) -> int:
        """The number that stands for this caller."""
        ...

    def expect_grant(self, reservation: "Reservation") -> int:
        """Settle the reservation when the core has answered it; returns the number of the request."""
        ...

    def expect_row(self, slot: int, answer: "Answer") -> None:
        """Settle the answer when the core has written the row of this slot."""
        ...

    @property
    def lost(self) -> bool: ...


class Reservation(asyncio.Future[None]):
    """A Reserve that the core has not answered."""

    def __init__(self, session: Session, slots: Sequence[int]) -> None:
        super().__init__()
        self.number = session.expect_grant(self)
        self._session = session
        self._slots = slots

    def grant(self) -> None:
        if self.done():  # whoever asked has gone
            self._release()
        else:
            self.set_result(None)

    def refuse(self, error: Exception) -> None:
        self._session.free_slots(self._slots)
        if not self.done():
            self.set_exception(error)

    def give_up(self) -> None:
        """Whoever asked was cancelled, perhaps just when the permits were granted."""
        if not self.cancelled() and self.exception() is None:
            self._release()

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            self._session.send(m.Cancel(self.number))
        return super().cancel(msg)

    def _release(self) -> None:
        self._session.send(m.Release(list(self._slots)))
        self._session.free_slots(self._slots)


class Answer(asyncio.Future[Row]):
    """The row of a submitted picture. To cancel it withdraws the picture; it ends when the core has said so."""

    def __init__(self, session: Session, slot: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self._session = session
        self._slot = slot

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            self._session.send(m.Withdraw(self._slot))
        return False


class _RemoteDeadline(Deadline):
    """A deadline that the core knows too."""

    __slots__ = ("_session", "_slot")

    def __init__(self, at_s: float, session: Session, slot: int) -> None:
        super().__init__(at_s)
        self._session = session
        self._slot = slot

    def extend(self, at_s: float) -> None:
        if at_s > self.at_s:
            super().extend(at_s)
            self._session.send(m.Extend(self._slot, at_s))


class _RemotePermit:
    """A permit of the core, with the slot that names it."""

    __slots__ = ("_classes", "_held", "_session", "_slot", "caller", "deadline")

    def __init__(self, session: Session, slot: int, caller: Caller, deadline_s: float, classes: int) -> None:
        self.caller = caller
        self.deadline: Deadline = _RemoteDeadline(deadline_s, session, slot)
        self._session = session
        self._slot = slot
        self._classes = classes
        self._held = True

    async def submit(self, picture: Picture, trace: Trace | None = None) -> Row:
        if self._session.lost:
            raise core_is_gone()
        height, width, _ = picture.shape
        self._session.region.picture(self._slot, height, width)[...] = picture
        answer = Answer(self._session, self._slot, self._classes)
        self._session.expect_row(self._slot, answer)
        self._session.send(m.Submit(self._slot, height, width, trace.packed() if trace else b""))
        return await answer

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("A permit was given back twice. This is a bug.")
        self._held = False
        self._session.send(m.Release([self._slot]))
        self._session.free_slots([self._slot])


class RemoteQueue:
    """Runs on the event loop of a front. `sick` is what the catalogue says."""

    def __init__(self, session: Session, load: int, classes: int) -> None:
        self.sick = False
        self._session = session
        self._load = load
        self._classes = classes

    async def admit(
        self, images: int, caller: Caller, deadline_s: float, decoded: Forecast, patient: bool
    ) -> Sequence[Permit]:
        """See `Queue.admit`."""
        slots = await self._slots(images, patient)
        reservation = Reservation(self._session, slots)
        self._session.send(
            m.Reserve(
                reservation.number,
                self._load,
                slots,
                self._session.number(caller),
                caller.priority is Priority.BULK,
                patient,
                deadline_s,
                decoded.first_s,
                decoded.all_s,
                caller.key,
            )
        )
        try:
            await reservation
        except asyncio.CancelledError:
            reservation.give_up()
            raise
        return [_RemotePermit(self._session, slot, caller, deadline_s, self._classes) for slot in slots]

    async def _slots(self, images: int, patient: bool) -> list[int]:
        """Raises as `Queue.admit` does. A patient caller waits for the slots too."""
        while not self._session.lost:
            if slots := self._session.take_slots(images):
                return slots
            if not patient:
                raise ServingError(
                    Code.QUEUE_FULL, "This server has too many images in work: try again in a moment.", 1
                )
            await self._session.slots_freed()
        await asyncio.sleep(0)  # whoever asks again at once shall not keep the catalogue from being cleared
        raise Retired


def core_is_gone() -> ServingError:
    return ServingError(Code.ENGINE_FAILED, "The process with the engines has ended: send the request again.")
