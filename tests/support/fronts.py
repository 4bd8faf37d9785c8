"""A whole core and several fronts, all in this process, over real sockets and regions."""

import asyncio
import dataclasses
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from bundle.manifest import Preprocessing
from server.answers import Answer
from server.decoding.decoders import Decoders
from server.host.cores import Shares
from server.lifecycle import Lifecycle, Phase
from server.metrics import Metrics
from server.processes.core import core as core_of
from server.processes.core.announcer import Announcer
from server.processes.core.core import Core, NoDecoding
from server.processes.front.mirror import Mirror
from server.processes.front.remote_backend import RemoteBackend
from server.processes.front.remote_deployer import RemoteDeployer
from server.processes.wire import control_socket
from server.registry.registry import Registry
from server.scheduling.fair_queue import Caller
from server.scheduling.threads import Threads
from server.service import Classifier, Limits, RequestOptions
from server.settings import Settings
from server.startup.compose_models import Choose, compose_models
from tests.support.seam import LIMIT_S, until


class NoPhotos(NoDecoding):
    """Decoders that cannot take a model's photos."""

    def warm_up(self, preprocessing: Preprocessing) -> None:
        raise RuntimeError("no such interpolation")


class Front:
    """The service of a front, without faces."""

    def __init__(self, name: str) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.threads = [Threads(1, "aside"), Threads(1, "load")]
        decoders = Decoders(1, self.threads[0], 1 << 20, 1 << 24, exact=False)
        self.mirror = Mirror("", decoders, self.threads[1], self.metrics, 0)
        self.backend = RemoteBackend(name, self.mirror, self.metrics)
        self.deployer = RemoteDeployer(self.backend, self.mirror)
        lifecycle = Lifecycle()
        lifecycle.advance(Phase.SERVING)
        self.classifier = Classifier(self.mirror, decoders, lifecycle, Limits(1 << 20, 1 << 20, 64, 600, 600))

    async def load(self) -> bool:
        """As an app does it."""
        await self.backend.prepare()
        return await self.backend.load()

    async def classify(self, photo: bytes, model: str = "") -> str:
        """The version that answered. Raises ServingError."""
        options = RequestOptions(time.monotonic() + 600, Caller(), model)
        classified = await self.classifier.classify([photo], options)
        assert isinstance(classified.outcomes[0], Answer)
        return classified.version

    def states(self) -> list[str]:
        return [f"{entry.version} {entry.state}" for entry in self.mirror.entries()]


class Running:
    """A core that serves, as `server.startup.children` runs one."""

    def __init__(self, root: Path, listening: socket.socket, choose: Choose, cache: Path) -> None:
        settings = dataclasses.replace(
            Settings(model_repository=root, cache_dir=cache), max_wait_ms=600_000, build_plans=False
        )
        self.announcer, self.metrics = Announcer(), Metrics(CollectorRegistry())
        offer = partial(core_of.offer, self.announcer)
        models = compose_models(settings, Shares(1, 1), NoDecoding(), self.metrics, choose, [], offer)
        self.registry: Registry = models.registry
        self.core = Core(self.announcer, self.registry, self.metrics)
        self._serving = asyncio.create_task(self.core.serve(listening))

    async def load(self) -> bool:
        loaded = await self.registry.load()
        self.announcer.complete = True
        self.announcer.publish()
        return loaded

    async def end(self) -> None:
        """As if its process ended."""
        self._serving.cancel()
        await asyncio.wait((self._serving,))
        gateways = list(self.core._gateways)
        for gateway in gateways:
            gateway.link.close()
        await until(lambda: all(gateway.region.fd < 0 for gateway in gateways))
        async with asyncio.timeout(LIMIT_S):
            await self.registry.idle()
        assert self.registry.unanswered() == 0


class Whole:
    """What the parent keeps, the core that there is, and the fronts."""

    def __init__(self, root: Path, choose: Choose, cache: Path) -> None:
        self._root, self._choose, self._cache = root, choose, cache
        self.listening, self.name = control_socket.listen()
        self.core = self.begin_core()
        self.fronts = [Front(self.name), Front(self.name)]

    def begin_core(self) -> Running:
        self.core = Running(self._root, self.listening, self._choose, self._cache)
        return self.core

    async def end(self) -> None:
        for front in self.fronts:
            front.backend.close()
            for threads in front.threads:
                threads.close()
        await self.core.end()
        assert [front.backend.unanswered() for front in self.fronts] == [0] * len(self.fronts)
        self.listening.close()


@asynccontextmanager
async def whole(root: Path, choose: Choose, cache: Path) -> AsyncIterator[Whole]:
    """A core that has loaded everything, and two fronts that can answer."""
    there = Whole(root, choose, cache)
    try:
        loading = [asyncio.create_task(front.load()) for front in there.fronts]
        assert await there.core.load()
        await asyncio.wait_for(asyncio.gather(*loading), LIMIT_S)
        yield there
    finally:
        await there.end()
