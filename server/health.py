"""Health: whether the process works, whether it should be sent work, and what is done where an engine does not work."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from server.device import Device
from server.errors import ServingError
from server.lifecycle import Lifecycle
from server.loader import ReadyModel
from server.repository import Repository
from server.waiting import Caller

_LOOK_S = 0.5


class Health:
    """Read by the faces at any time; `watch` finds engines that hang, and gives those that fail a chance to recover."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        repository: Repository,
        devices: Sequence[Device],
        engine_limit_s: float,
        told: Callable[[bool], Awaitable[None]],
    ) -> None:
        """`told` is called with the readiness whenever it has changed."""
        self._lifecycle = lifecycle
        self._repository = repository
        self._devices = devices
        self._engine_limit_s = engine_limit_s
        self._told = told
        self._last: bool | None = None
        self._trying: set[ReadyModel] = set()

    @property
    def phase(self) -> str:
        return self._lifecycle.phase.value

    @property
    def alive(self) -> bool:
        """When not, only a new process helps."""
        return not self._lifecycle.broken

    @property
    def ready(self) -> bool:
        """Whether new traffic should be sent here."""
        return self._lifecycle.ready and self._repository.serves() and not self._sick()

    async def tell(self) -> None:
        """Tell whether the server is ready, where that has changed."""
        if self._last is not self.ready:
            self._last = self.ready
            await self._told(self._last)

    def hanging(self) -> list[Device]:
        """Where an engine has been busy with one batch for too long."""
        return [device for device in self._devices if device.running_for_s() > self._engine_limit_s]

    async def watch(self) -> None:
        """Returns when an engine hangs."""
        while not self.hanging():
            await self.tell()
            for ready in self._sick():
                self._try(ready)
            await asyncio.sleep(_LOOK_S)

    def _sick(self) -> list[ReadyModel]:
        serving = [entry.ready for entry in self._repository.entries() if entry.ready]
        return [ready for ready in serving if ready.batcher.sick]

    def _try(self, ready: ReadyModel) -> None:
        """Ask a failing engine for one answer of the bundle's probe: nobody else may be sent here to ask."""
        if ready not in self._trying:
            self._trying.add(ready)
            asyncio.create_task(self._ask(ready)).add_done_callback(lambda task: self._trying.discard(ready))

    async def _ask(self, ready: ReadyModel) -> None:
        try:
            (place,) = ready.batcher.reserve(1, Caller(), time.monotonic() + self._engine_limit_s)
        except ServingError:
            return
        try:
            await place.submit(ready.loaded.bundle.probe.pixels[0])
        except ServingError:
            return
        finally:
            place.release()
