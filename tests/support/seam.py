"""Both queues that a service may use: the batcher itself, and one behind a session, a socket and a gateway."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from prometheus_client import CollectorRegistry

from bundle import files, parity
from bundle.images import Picture
from server.engines.choice import Choice
from server.metrics import Metrics
from server.processes.core.announcer import Announcer
from server.processes.core.gateway import Gateway
from server.processes.front.remote_queue import RemoteQueue
from server.processes.front.session import Session
from server.processes.wire import control_socket, handshake
from server.processes.wire import messages as m
from server.processes.wire.frames import Frames, frames_to_core, frames_to_front
from server.processes.wire.region import Region
from server.registry.loader import Loaded, ReadyModel
from server.scheduling.batcher import Batcher
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import NOW
from server.scheduling.key_callers import KeyCallers
from server.scheduling.permit import Permit, Queue
from server.scheduling.single_flight import SingleFlight
from tests.support.descriptors import how_many_open, open_files
from tests.support.faces import FakeEngine

DEMO = Path(__file__).parents[2] / "model_repository" / "demo" / "1"
SIDE = 64  # pixels, of the demo's pictures
LIMIT_S = 20.0
MAPPED = "memfd:sesame-region"
Received = TypeVar("Received")


def picture(number: int, side: int = SIDE) -> Picture:
    """What a `Gate` answers with the number."""
    return np.full((side, side, 3), number, np.uint8)


def regions_mapped() -> int:
    """How many mappings of regions this process has."""
    return sum(MAPPED in line for line in Path("/proc/self/maps").read_text().splitlines())


class Opened:
    """What this process opens from now on. uvloop has another pair of sockets each time that it runs, so all is only
    counted.
    """

    def __init__(self) -> None:
        self._files, self._regions = len(open_files()), regions_mapped()

    def nothing(self) -> bool:
        """Whether no socket, pipe or region is open that was not."""
        return how_many_open() <= self._files and regions_mapped() <= self._regions


async def until(true: Callable[[], object]) -> None:
    """Let the loop turn until this is true."""
    async with asyncio.timeout(LIMIT_S):
        while not true():
            await asyncio.sleep(0)


class Versions:
    """The loads of one model, as a core has them; the test says when one is replaced."""

    def __init__(self) -> None:
        self.loads: dict[int, tuple[ReadyModel, Batcher]] = {}
        self.asked: list[m.Ask] = []
        self.samples: list[bytes] = []
        self.answered = asyncio.Event()  # questions are answered
        self.answered.set()
        self.callers = KeyCallers()
        self._bundle = files.read(DEMO)
        self._metrics = Metrics(CollectorRegistry())

    def add(self, batcher: Batcher) -> int:
        """Serve with this batcher too; returns the number of the load."""
        probe = self._bundle.probe
        same = parity.compare(probe.probabilities, probe.probabilities)
        loaded = Loaded(self._bundle, Choice(FakeEngine(200), ""), same, {1: 1e-9})
        ready = ReadyModel(loaded, batcher, SingleFlight(), self._metrics.of("demo", "1"))
        self.loads[loaded.number] = ready, batcher
        return loaded.number

    def load(self, number: int) -> tuple[ReadyModel, Batcher] | None:
        return self.loads.get(number)

    async def ask(self, question: m.Ask) -> m.Answer:
        self.asked.append(question)
        await self.answered.wait()
        if question.name == "bug":
            raise KeyError("bug")
        return m.Answer(question.request)

    def sampled(self, request: int, front: Gateway, text: bytes) -> None:
        self.samples.append(text)


class CoreSide:
    """Accepts fronts as the core does."""

    def __init__(self) -> None:
        self.versions = Versions()
        self.announcer = Announcer()
        self.gateways: list[Gateway] = []
        self.listening, self.name = control_socket.listen()
        self._accepting = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        while True:
            control, _ = await asyncio.get_running_loop().sock_accept(self.listening)
            region = await handshake.welcome(control)
            gateway = Gateway(region, self.versions, self.announcer, lambda: None)
            await gateway.link.start(control)
            self.announcer.enter(gateway)
            self.gateways.append(gateway)

    async def connect(self) -> Session:
        count = len(self.gateways)
        session = await Session.begin(self.name, lambda session, message: None, lambda: None)
        await until(lambda: len(self.gateways) > count)
        return session

    async def bare(self) -> "BareFront":
        """A front that may send what it likes."""
        count, control, region = len(self.gateways), control_socket.connect(self.name), Region.create()
        await handshake.greet(control, region)
        await until(lambda: len(self.gateways) > count)
        return BareFront(control, region)

    async def close(self) -> None:
        self._accepting.cancel()
        await asyncio.wait((self._accepting,))
        self.listening.close()
        for gateway in self.gateways:
            gateway.link.close()
        await until(lambda: all(gateway.region.fd < 0 for gateway in self.gateways))


class _Bare:
    """One end of a connection that may send what it likes."""

    def __init__(self, control: socket.socket, region: Region) -> None:
        self.control = control
        self.region = region

    async def send(self, *messages: m.Message) -> None:
        await self.send_bytes(b"".join(m.encode(message) for message in messages))

    async def send_bytes(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.control, data)

    async def _next(self, frames: Frames[Received], got: list[Received]) -> Received | None:
        """The next message; None where the other end has ended the connection."""
        async with asyncio.timeout(LIMIT_S):
            while not got:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self.control, 1 << 16)
                except ConnectionError:
                    return None
                if not data:
                    return None
                got += frames.feed(data)
        return got.pop(0)

    def close(self) -> None:
        self.control.close()
        self.region.close()


class BareFront(_Bare):
    """A front's socket, and the region that the core knows."""

    def __init__(self, control: socket.socket, region: Region) -> None:
        super().__init__(control, region)
        self._frames = frames_to_front()
        self._got: list[m.ToFront] = []

    async def next(self) -> m.ToFront | None:
        return await self._next(self._frames, self._got)

    async def until_ended(self) -> list[m.ToFront]:
        """What came until the core ended the connection."""
        got = []
        while (message := await self.next()) is not None:
            got.append(message)
        return got


class BareCore(_Bare):
    """A core's socket to one front, and that front's region."""

    def __init__(self, control: socket.socket, region: Region) -> None:
        super().__init__(control, region)
        self._frames = frames_to_core()
        self._got: list[m.ToCore] = []

    @classmethod
    async def accept(cls, listening: socket.socket) -> "BareCore":
        control, _ = await asyncio.get_running_loop().sock_accept(listening)
        return cls(control, await handshake.welcome(control))

    async def next(self) -> m.ToCore | None:
        return await self._next(self._frames, self._got)


class Seam:
    """A queue, and the batcher behind it."""

    def __init__(self, batcher: Batcher, core: CoreSide | None, session: Session | None) -> None:
        self.batchers = [batcher]
        self.core = core
        self.session = session
        self.retiring: list[asyncio.Task[None]] = []
        self.queue: Queue = self._queue_of(batcher)

    @property
    def batcher(self) -> Batcher:
        return self.batchers[-1]

    @property
    def taken(self) -> int:
        return sum(batcher.admission.taken for batcher in self.batchers)

    def replace(self, batcher: Batcher) -> Queue:
        """Requests go to this batcher from now on; returns the queue of the one before."""
        old, self.queue = self.queue, self._queue_of(batcher)
        if self.core:
            del self.core.versions.loads[min(self.core.versions.loads)]
        self.retiring.append(asyncio.create_task(self.batcher.retire()))
        self.batchers.append(batcher)
        return old

    def _queue_of(self, batcher: Batcher) -> Queue:
        if self.core and self.session:
            return RemoteQueue(self.session, self.core.versions.add(batcher), classes=1)
        return batcher

    async def settle(self) -> None:
        """Returns when all that was sent has been received, and what came of it at once."""
        for _ in range(5):
            await asyncio.sleep(0)
        if self.session:
            await self.session.ask("metrics")
        for _ in range(5):
            await asyncio.sleep(0)

    async def admit(
        self, images: int = 1, caller: Caller | None = None, patient: bool = False, left_s: float = 600
    ) -> Sequence[Permit]:
        return await self.queue.admit(images, caller or Caller(), time.monotonic() + left_s, NOW, patient)

    def expire(self, permit: Permit) -> None:
        """Its time has run out where the engine is."""
        if self.core:
            permit = self.core.gateways[0]._held[permit._slot].permit  # type: ignore[attr-defined]
        permit.deadline.at_s = time.monotonic() - 1

    async def end(self) -> None:
        """Nothing may be left, on either side."""
        async with asyncio.timeout(LIMIT_S):
            for batcher in self.batchers:
                await batcher.admission.idle()
            for task in self.retiring:
                await task
        assert self.taken == 0
        if self.core and self.session:
            await self.settle()
            assert self.session.unanswered() == 0
            assert self.session.idle.is_set()
            for waiting in (self.session._answers, self.session._reservations, self.session._questions):
                assert not waiting
            for gateway in self.core.gateways:
                assert not (gateway._held or gateway._waiting or gateway._asking or gateway._wanted)


@asynccontextmanager
async def seam(kind: str, batcher: Batcher) -> AsyncIterator[Seam]:
    """`kind`: "local" or "remote"."""
    if kind == "local":
        local = Seam(batcher, None, None)
        yield local
        await local.end()
        return
    core = CoreSide()
    session = await core.connect()
    try:
        remote = Seam(batcher, core, session)
        yield remote
        await remote.end()
    finally:
        session.close()
        await session.ended.wait()
        await core.close()


def begin(permit: Permit, number: int) -> "asyncio.Task[float]":
    """A caller as the service is one: its permit is given back when its task ends."""

    async def ask() -> float:
        return float((await permit.submit(picture(number))).probabilities[0])

    task = asyncio.create_task(ask())
    task.add_done_callback(lambda _: permit.release())
    return task
