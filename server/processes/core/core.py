"""Core: the models and their engines, for all fronts. It has no faces and decodes nothing."""

import asyncio
import contextlib
import logging
import socket
import zlib

from bundle.errors import BundleError
from bundle.manifest import Preprocessing
from server.metrics import Metrics
from server.processes.core.announcer import Announcer
from server.processes.core.gateway import Gateway
from server.processes.wire import exposition, handshake
from server.processes.wire import messages as m
from server.processes.wire.errors import LinkError
from server.processes.wire.region import MOST_CLASSES, ROW_BYTES, SLOT_BYTES
from server.registry.entry import Entry
from server.registry.loader import Loaded, ReadyModel
from server.registry.registry import Registry
from server.scheduling.batcher import Batcher
from server.scheduling.key_callers import KeyCallers

log = logging.getLogger(__name__)

_PUBLISH_EVERY_S = 0.25
_SAMPLES_IN_S = 1.0


class NoDecoding:
    """What a loader of the core knows of decoders: fronts have them."""

    def warm_up(self, preprocessing: Preprocessing) -> None:
        pass

    def left_s(self) -> float:
        return 0.0


class Core:
    """Accepts fronts, and answers them. Runs on the event loop."""

    def __init__(
        self, announcer: Announcer, registry: Registry, metrics: Metrics, callers: KeyCallers | None = None
    ) -> None:
        """`callers`: those of the keys; without it a front may name any key, and none has limits."""
        self.callers = callers or KeyCallers()
        self._announcer = announcer
        self._registry = registry
        self._metrics = metrics
        self._gateways: set[Gateway] = set()
        self._one_left = asyncio.Event()
        self._samples: dict[int, dict[Gateway, asyncio.Future[bytes]]] = {}
        announcer.describe(registry.repository)

    async def serve(self, listener: socket.socket) -> None:
        """Accept fronts and keep them informed, until cancelled."""
        listener.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            while True:
                control, _ = await asyncio.get_running_loop().sock_accept(listener)
                tasks.create_task(self._welcome(control))

    @property
    def fronts(self) -> int:
        """How many are connected."""
        return len(self._gateways)

    async def deserted(self) -> None:
        """Returns when no front is connected."""
        while self._gateways:
            self._one_left.clear()
            await self._one_left.wait()

    def load(self, number: int) -> tuple[ReadyModel, Batcher] | None:
        """See `gateway.Models`."""
        for entry in self._registry.repository.entries():
            if entry.ready and entry.ready.loaded.number == number:
                return entry.ready, self._registry.activator.batcher(entry.ready)
        return None

    async def ask(self, question: m.Ask) -> m.Answer:
        """See `gateway.Models`."""
        deployer = self._registry.deployer
        match question.verb:
            case "load":
                entry = await deployer.load(question.name, question.version)
                return m.Answer(question.request, [(entry.name, entry.version)])
            case "unload":
                unloaded = await deployer.unload(question.name, question.version)
                return m.Answer(question.request, [(entry.name, entry.version) for entry in unloaded])
            case "set_alias":
                return m.Answer(question.request, kept=await deployer.set_alias(question.name, question.target))
            case "metrics":
                return m.Answer(question.request, text=zlib.compress(await self._all_metrics(), 1))

    def sampled(self, request: int, front: Gateway, text: bytes) -> None:
        """See `gateway.Models`."""
        future = self._samples.get(request, {}).get(front)
        if future and not future.done():
            future.set_result(text)

    async def _publish(self) -> None:
        while True:
            self._announcer.publish()
            await asyncio.sleep(_PUBLISH_EVERY_S)

    async def _welcome(self, control: socket.socket) -> None:
        try:
            region = await handshake.welcome(control)
        except LinkError as error:
            log.warning("a front was turned away: %s", error)
            return
        gateway = Gateway(region, self, self._announcer, lambda: self._forget(gateway))
        self._gateways.add(gateway)
        await gateway.link.start(control)
        if gateway in self._gateways:  # the front may have gone already
            self._announcer.enter(gateway)

    def _forget(self, gateway: Gateway) -> None:
        self._gateways.discard(gateway)
        self._one_left.set()

    async def _all_metrics(self) -> bytes:
        """Those of this process and of the fronts; a front that does not answer within a second is left out."""
        loop, request = asyncio.get_running_loop(), max(self._samples, default=0) + 1
        waiting = self._samples[request] = {gateway: loop.create_future() for gateway in self._gateways}
        try:
            for gateway in waiting:
                gateway.tell(m.Collect(request))
            if waiting:
                await asyncio.wait(waiting.values(), timeout=_SAMPLES_IN_S)
        finally:
            del self._samples[request]
        texts = [exposition.unpacked(exposition.packed(self._metrics.registry))]
        for future in waiting.values():
            if future.done():
                with contextlib.suppress(ValueError):
                    texts.append(exposition.unpacked(future.result()))
        return await loop.run_in_executor(None, exposition.merged, texts)


async def offer(announcer: Announcer, entry: Entry, loaded: Loaded) -> None:
    """Refuse what does not fit between processes, and wait until the fronts are prepared. Raises BundleError."""
    manifest = loaded.bundle.manifest
    picture_bytes = manifest.preprocessing.height * manifest.preprocessing.width * 3
    if manifest.labels.classes > MOST_CLASSES or picture_bytes > SLOT_BYTES - ROW_BYTES:
        raise BundleError("Its pictures or its classes are too many for several fronts: serve it with --fronts 0.")
    await announcer.offer(entry, loaded)
