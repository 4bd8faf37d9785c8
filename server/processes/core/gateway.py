"""Gateway: one front as the core sees it: the permits that it holds, and the images that it has submitted."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence, Set
from typing import Any, Protocol
from weakref import WeakValueDictionary

from server.errors import ServingError, internal
from server.processes.core.announcer import Announcer
from server.processes.core.held import Held, SlotItem
from server.processes.wire import messages as m
from server.processes.wire.errors import LinkError
from server.processes.wire.frames import frames_to_core
from server.processes.wire.link import Link
from server.processes.wire.region import Region
from server.registry.loader import ReadyModel
from server.scheduling.batch import ABANDONED, Row
from server.scheduling.batcher import Batcher
from server.scheduling.fair_queue import Caller, Priority
from server.scheduling.forecast import Forecast
from server.scheduling.key_callers import KeyCallers
from server.scheduling.permit import Permit, Retired
from server.trace import PACKED_BYTES, Trace

log = logging.getLogger(__name__)


class Models(Protocol):
    """What a gateway asks of the core."""

    callers: KeyCallers  # of keys, from all fronts

    def load(self, number: int) -> tuple[ReadyModel, Batcher] | None:
        """The load of that number if it takes requests."""
        ...

    async def ask(self, question: m.Ask) -> m.Answer:
        """What an operator wants. Raises ServingError."""
        ...

    def sampled(self, request: int, front: "Gateway", text: bytes) -> None:
        """A front's metrics have come."""
        ...


class Gateway:
    """Runs on the event loop of the core. What the front does wrong ends its connection, and nobody else's.

    When the connection ends, its permits are given back, those of images in a batch when the batch has ended.
    """

    def __init__(self, region: Region, models: Models, announcer: Announcer, on_lost: Callable[[], None]) -> None:
        self.region = region
        self.link: Link[m.Message, m.ToCore] = Link(frames_to_core(), self._receive, self._lost)
        self._models = models
        self._announcer = announcer
        self._on_lost = on_lost
        self._held: dict[int, Held] = {}  # by slot
        self._waiting: dict[int, asyncio.Task[None]] = {}  # patient reservations, by number
        self._wanted: set[int] = set()  # their slots
        self._asking: dict[int, asyncio.Task[None]] = {}  # operators' requests, by number
        self._callers: WeakValueDictionary[int, Caller] = WeakValueDictionary()
        self._rows: list[m.Row] = []
        self._gone = False

    def tell(self, message: m.Offer | m.Catalogue | m.Collect) -> None:
        self.link.send(message)

    def answer(self, slot: int, held: Held, row: Row) -> None:
        """An image of the front has its row."""
        if self._gone:
            return held.permit.release()
        self.region.write_row(slot, row.probabilities)
        if not self._rows:
            asyncio.get_running_loop().call_soon(self._send_rows)
        self._rows.append(m.Row(slot, max(0.0, row.queue_s), row.infer_s, row.batch))
        return None

    def fail(self, slot: int, held: Held, error: ServingError) -> None:
        """An image of the front will not be answered."""
        if self._gone:
            return held.permit.release()
        return self.link.send(m.Failed(slot, error.code, error.detail))

    def _send_rows(self) -> None:
        rows, self._rows = self._rows, []
        self.link.send(m.Rows(rows))

    def _receive(self, message: m.ToCore) -> None:
        match message:
            case m.Submit():
                self._submit(message)
            case m.Reserve():
                self._reserve(message)
            case m.Release():
                self._release(message.slots)
            case m.Withdraw():
                self._withdraw(message.slot)
            case m.Extend():
                self._holding(message.slot).permit.deadline.extend(message.deadline_s)
            case m.Cancel():
                if waiting := self._waiting.get(message.request):
                    waiting.cancel()
            case m.Prepared():
                self._announcer.prepared(self, message.load, message.fault)
            case m.Ask():
                self._begin(self._asking, message.request, self._ask(message))
            case m.Samples():
                self._models.sampled(message.request, self, message.text)
            case _:
                raise LinkError(f"A front sent {type(message).__name__} amid a connection.")

    def _reserve(self, wanted: m.Reserve) -> None:
        slots = set(wanted.slots)
        if len(slots) < len(wanted.slots) or max(slots) >= self.region.slots:
            raise LinkError("A front reserved a slot twice, or one that it does not have.")
        if slots & (self._held.keys() | self._wanted):
            raise LinkError("A front reserved slots that are in use.")
        found = self._models.load(wanted.load)
        if found is None:
            return self._retired(wanted.request)
        ready, batcher = found
        decoded = Forecast(wanted.decoded_first_s, wanted.decoded_all_s)
        try:
            caller = self._caller(wanted)
        except ServingError as error:
            return self._refuse(wanted.request, error)
        if wanted.patient:
            return self._begin(
                self._waiting, wanted.request, self._reserve_patiently(wanted, ready, batcher, caller, decoded), slots
            )
        try:
            permits = batcher.reserve(len(slots), caller, wanted.deadline_s, decoded)
        except Retired:
            return self._retired(wanted.request)
        except ServingError as error:
            return self._refuse(wanted.request, error)
        return self._grant(wanted, ready, batcher, permits)

    async def _reserve_patiently(
        self, wanted: m.Reserve, ready: ReadyModel, batcher: Batcher, caller: Caller, decoded: Forecast
    ) -> None:
        try:
            permits = await batcher.admit(len(wanted.slots), caller, wanted.deadline_s, decoded, patient=True)
        except Retired:
            return self._retired(wanted.request)
        return self._grant(wanted, ready, batcher, permits)

    def _grant(self, wanted: m.Reserve, ready: ReadyModel, batcher: Batcher, permits: Sequence[Permit]) -> None:
        preprocessing = ready.loaded.bundle.manifest.preprocessing
        shape = preprocessing.height, preprocessing.width
        for slot, permit in zip(wanted.slots, permits, strict=True):
            self._held[slot] = Held(permit, batcher, shape)
        self.link.send(m.Granted(wanted.request))

    def _retired(self, request: int) -> None:
        self._announcer.publish()
        self.link.send(m.Retired(request))

    def _refuse(self, request: int, error: ServingError) -> None:
        self.link.send(m.Refused(request, error.code, error.detail, error.retry_after_s))

    def _caller(self, wanted: m.Reserve) -> Caller:
        """The same object for the same number or key, for as long as it holds or waits for anything.

        Raises ServingError where the key has been removed.
        """
        priority = Priority.BULK if wanted.bulk else Priority.INTERACTIVE
        if wanted.key:
            return self._models.callers.of(wanted.key, priority)
        caller = self._callers.get(wanted.caller)
        if caller is None or caller.priority is not priority:
            caller = self._callers[wanted.caller] = Caller(priority)
        return caller

    def _submit(self, submitted: m.Submit) -> None:
        held = self._holding(submitted.slot)
        if held.used or (submitted.height, submitted.width) != held.shape:
            raise LinkError(f"A front submitted slot {submitted.slot} twice, or with a picture of another size.")
        if submitted.trace and len(submitted.trace) != PACKED_BYTES:
            raise LinkError(f"A front submitted slot {submitted.slot} with a torn trace.")
        held.used = True
        held.item = SlotItem(self, submitted.slot, held)
        if submitted.trace:
            held.item.trace = Trace.unpacked(submitted.trace)
        held.batcher.put(held.item)

    def _withdraw(self, slot: int) -> None:
        held = self._holding(slot)
        if held.item is None:
            return  # it was answered just now
        if held.batcher.withdraw(held.item):
            held.item.fail(ABANDONED)
        else:
            held.item.abandon()

    def _release(self, slots: Sequence[int]) -> None:
        for slot in slots:
            held = self._holding(slot)
            if held.item:
                raise LinkError(f"A front released slot {slot} before its image was answered.")
            del self._held[slot]
            held.permit.release()

    def _begin(
        self,
        tasks: dict[int, asyncio.Task[None]],
        request: int,
        work: Coroutine[Any, Any, None],
        slots: Set[int] = frozenset(),
    ) -> None:
        """Do what takes time. `slots` may not be reserved meanwhile.

        However it ends the request is answered, also where it is cancelled before its first step.
        """
        if request in self._waiting or request in self._asking:
            work.close()
            raise LinkError(f"A front used the number {request} twice.")
        self._wanted |= slots
        tasks[request] = asyncio.create_task(work)
        tasks[request].add_done_callback(lambda task: self._ended(tasks, request, task, slots))

    def _ended(
        self, tasks: dict[int, asyncio.Task[None]], request: int, task: "asyncio.Task[None]", slots: Set[int]
    ) -> None:
        del tasks[request]
        self._wanted -= slots
        error = ABANDONED if task.cancelled() else task.exception()
        if isinstance(error, ServingError):
            self._refuse(request, error)
        elif error:
            log.error("a front's request failed: this is a bug", exc_info=error)
            self._refuse(request, internal())

    async def _ask(self, question: m.Ask) -> None:
        answer = await self._models.ask(question)
        self._announcer.publish()  # so that the front knows of it before it has the answer
        self.link.send(answer)

    def _holding(self, slot: int) -> Held:
        held = self._held.get(slot)
        if held is None:
            raise LinkError(f"A front named slot {slot}, for which it has no permit.")
        return held

    def _lost(self, reason: str) -> None:
        self._gone = True
        for waiting in self._waiting.values():  # an operator's request goes on: it may have changed something already
            waiting.cancel()
        for held in self._held.values():
            if held.item is None:
                held.permit.release()
            elif held.batcher.withdraw(held.item):
                held.item.fail(ABANDONED)
            else:
                held.item.abandon()  # its permit is given back when its batch has ended
        self._held.clear()
        self._announcer.leave(self)
        self.region.close()
        log.info("a front has gone: %s", reason)
        self._on_lost()
