"""Health: whether the process works, whether it should be sent work, and what is done where an engine does not work."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from server.decoders import Decoders
from server.device import Device
from server.errors import ServingError
from server.lifecycle import Lifecycle, Phase
from server.loader import ReadyModel
from server.repository import Entry, Repository
from server.waiting import Caller

_LOOK_S = 0.5


class Health:
    """Read by the faces at any time; `watch` finds engines that hang, and gives those that fail a chance to recover."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        repository: Repository,
        devices: Sequence[Device],
        decoders: Decoders,
        engine_limit_s: float,
        told: Callable[[bool], Awaitable[None]],
        given_up: Callable[[int], object],
        strict: bool = False,
    ) -> None:
        """`told` is called with the readiness whenever it has changed, `given_up` with how many decodes were.

        `strict`: one model that does not answer is enough to be unready.
        """
        self._lifecycle = lifecycle
        self._repository = repository
        self._devices = devices
        self._decoders = decoders
        self._engine_limit_s = engine_limit_s
        self._told = told
        self._given_up = given_up
        self._strict = strict
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
        """Whether new traffic should be sent here: any model answers, or, where readiness is strict, each one does."""
        answers = any(entry.answers() for entry in self._repository.entries())
        lacking = self._strict and (self._sick() or self._repository.unserved())
        return self._lifecycle.ready and answers and not lacking

    def ready_for(self, versions: Sequence[Entry]) -> bool:
        """Whether requests for these versions of a model, ascending, should be sent here: the highest that is ready
        answers them. Also while other models still load.
        """
        taken = self._lifecycle.phase in (Phase.STARTING, Phase.SERVING) and not self._lifecycle.broken
        ready = [entry for entry in versions if entry.ready]
        return taken and bool(ready) and ready[-1].answers()

    async def tell(self) -> None:
        """Tell whether the server is ready, where that has changed."""
        if self._last is not self.ready:
            self._last = self.ready
            await self._told(self._last)

    def hanging(self) -> list[Device]:
        """Where an engine has been busy with one batch for too long, or is lost to this process."""
        return [device for device in self._devices if device.lost or device.running_for_s() > self._engine_limit_s]

    def complaint(self) -> str:
        """Why only a new process helps."""
        if self._decoders.failing:
            return f"{self._decoders.lost} decode threads do not come back from their photos"
        what = "is lost to this process" if any(device.lost for device in self._devices) else "hangs"
        return f"an engine {what} (a batch may take {self._engine_limit_s:.0f} s)"

    async def watch(self) -> None:
        """Returns when an engine hangs or is lost, or when too few decode threads are left."""
        while not (self.hanging() or self._decoders.failing):
            await self.tell()
            self._given_up(self._decoders.give_up_slow())
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
