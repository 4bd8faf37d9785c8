"""Session: one connection of a front to the core, with all that is under way in it."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from server.errors import Code, ServingError
from server.processes.front.remote_queue import Answer, Reservation, core_is_gone
from server.processes.wire import control_socket, handshake
from server.processes.wire import messages as m
from server.processes.wire.errors import LinkError
from server.processes.wire.frames import frames_to_front
from server.processes.wire.free_slots import FreeSlots
from server.processes.wire.link import Link
from server.processes.wire.region import Region
from server.registry.target import Target
from server.scheduling.batch import Row
from server.scheduling.fair_queue import Caller
from server.scheduling.permit import Retired

log = logging.getLogger(__name__)


class Session:
    """Runs on the event loop of a front. `on_news` gets the messages that are no answers. `on_end` is called when the
    connection has ended, before anybody else hears of it: who then chooses a model must not find one of this session.

    When the connection ends, all that was under way fails with ENGINE_FAILED, and what comes with Retired. Its region
    is not used again: a core that only lost the connection may still write there.
    """

    def __init__(
        self, region: Region, on_news: "Callable[[Session, m.ToFront], None]", on_end: Callable[[], None]
    ) -> None:
        self.region = region
        self.idle = asyncio.Event()  # no permit is held or asked for
        self.idle.set()
        self._free = FreeSlots(region.slots)
        self._freed = asyncio.Event()
        self._leaving = False
        self.ended = asyncio.Event()
        self._on_news = on_news
        self._on_end = on_end
        self._link: Link[m.Message, m.ToFront] = Link(frames_to_front(), self._receive, self._lost)
        self._numbers = itertools.count(1)
        self._callers: WeakKeyDictionary[Caller, int] = WeakKeyDictionary()
        self._reservations: dict[int, Reservation] = {}
        self._questions: dict[int, asyncio.Future[m.Answer]] = {}
        self._answers: dict[int, Answer] = {}  # by slot

    @classmethod
    async def begin(
        cls, name: str, on_news: "Callable[[Session, m.ToFront], None]", on_end: Callable[[], None]
    ) -> "Session":
        """Connect to the core at the control socket of that name; waits until there is one. Raises LinkError, and
        OSError where this process cannot have the memory.
        """
        region = Region.create()
        try:
            control = control_socket.connect(name)
            await handshake.greet(control, region)
            session = cls(region, on_news, on_end)
            await session._link.start(control)
        except BaseException:
            region.close()
            raise
        return session

    @property
    def lost(self) -> bool:
        return self.ended.is_set()

    def close(self) -> None:
        self._leaving = True
        self._link.close()

    def send(self, message: m.Message) -> None:
        self._link.send(message)

    def take_slots(self, count: int) -> list[int] | None:
        """So many slots, or None where fewer are free."""
        slots = self._free.take(count)
        if slots:
            self.idle.clear()
        return slots

    def free_slots(self, slots: Sequence[int]) -> None:
        """Their permits have been given back, or were refused."""
        self._free.give_back(slots)
        self._freed.set()
        if not self.unanswered():
            self.idle.set()

    async def slots_freed(self) -> None:
        """Returns when some have been given back, or the connection has ended: the time to try again."""
        self._freed.clear()
        await self._freed.wait()

    def unanswered(self) -> int:
        """How many permits are held or asked for."""
        return self.region.slots - len(self._free)

    def number(self, caller: Caller) -> int:
        """The number that stands for this caller."""
        number = self._callers.get(caller)
        if number is None:
            number = self._callers[caller] = next(self._numbers)
        return number

    def expect_grant(self, reservation: Reservation) -> int:
        """Settle the reservation when the core has answered it; returns the number of the request."""
        number = next(self._numbers)
        self._reservations[number] = reservation
        return number

    def expect_row(self, slot: int, answer: Answer) -> None:
        """Settle the answer when the core has written the row of this slot."""
        self._answers[slot] = answer

    async def ask(self, verb: m.Verb, name: str = "", version: str = "", target: Target | None = None) -> m.Answer:
        """An operator's request. Raises ServingError."""
        if self.lost:
            raise core_is_gone()
        number = next(self._numbers)
        question: asyncio.Future[m.Answer] = asyncio.get_running_loop().create_future()
        self._questions[number] = question
        self.send(m.Ask(number, verb, name, version, target))
        return await question

    def _receive(self, message: m.ToFront) -> None:
        match message:
            case m.Rows():
                for row in message.rows:
                    answer = self._expected(self._answers, row.slot)
                    probabilities = self.region.read_row(row.slot, answer.classes)
                    answer.set_result(Row(probabilities, row.queue_s, row.infer_s, row.batch))
            case m.Granted():
                self._expected(self._reservations, message.request).grant()
            case m.Failed():
                answer = self._expected(self._answers, message.slot)
                answer.set_exception(ServingError(message.code, message.detail))
            case m.Refused():
                self._refused(message)
            case m.Retired():
                self._expected(self._reservations, message.request).refuse(Retired())
            case m.Answer():
                _settle(self._expected(self._questions, message.request), message)
            case _:
                self._on_news(self, message)

    def _refused(self, refused: m.Refused) -> None:
        error = ServingError(refused.code, refused.detail, refused.retry_after_s)
        if refused.request in self._reservations:
            self._reservations.pop(refused.request).refuse(error)
        else:
            _settle(self._expected(self._questions, refused.request), error)

    def _expected(self, waiting: dict[int, Any], number: int) -> Any:
        found = waiting.pop(number, None)
        if found is None:
            raise LinkError(f"The core answered {number}, which nobody asked.")
        return found

    def _lost(self, reason: str) -> None:
        self.ended.set()
        self._on_end()
        for answer in self._answers.values():
            answer.set_exception(core_is_gone())
        for reservation in self._reservations.values():
            reservation.refuse(Retired())
        for question in self._questions.values():
            _settle(question, ServingError(Code.ENGINE_FAILED, "The process with the engines has ended: try again."))
        self._answers.clear()
        self._reservations.clear()
        self._questions.clear()
        self._freed.set()
        self.region.close()
        log.log(logging.DEBUG if self._leaving else logging.WARNING, "the core has gone: %s", reason)


def _settle(future: "asyncio.Future[m.Answer]", outcome: m.Answer | ServingError) -> None:
    if future.done():  # whoever asked has gone
        return
    if isinstance(outcome, ServingError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
