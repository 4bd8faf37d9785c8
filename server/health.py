"""Health: whether the process works, whether it should get requests, and what is done when an engine fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from server.decoding.decoders import Decoders
from server.errors import ServingError
from server.lifecycle import Lifecycle, Phase
from server.registry.entry import Entry
from server.registry.loader import ReadyModel
from server.registry.repository import Repository
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller

_CHECK_EVERY_S = 0.5


class Health:
    """The faces read it at any time. `watch` finds engines that hang, and sends a probe to those that fail.

    Everything runs on the event loop; engines and decoders work in threads of their own.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        repository: Repository,
        devices: Sequence[Device],
        decoders: Decoders,
        engine_limit_s: float,
        on_change: Callable[[bool], Awaitable[None]],
        count_given_up: Callable[[int], object],
        strict: bool = False,
    ) -> None:
        """`on_change` is called with the readiness when it has changed, `count_given_up` with the number of decodes
        that were given up.

        `strict`: one model that does not answer makes the server unready.
        """
        self._lifecycle = lifecycle
        self._repository = repository
        self._devices = devices
        self._decoders = decoders
        self._engine_limit_s = engine_limit_s
        self._on_change = on_change
        self._count_given_up = count_given_up
        self._strict = strict
        self._published: bool | None = None
        self._probing: set[ReadyModel] = set()

    @property
    def phase(self) -> str:
        return self._lifecycle.phase.value

    @property
    def alive(self) -> bool:
        """Where it is not, only a new process helps."""
        return not self._lifecycle.broken

    @property
    def ready(self) -> bool:
        """Whether clients should send new requests here: one model answers, or, with strict readiness, all do."""
        answers = any(entry.answers() for entry in self._repository.entries())
        lacking = self._strict and (self._sick() or self._repository.unserved())
        return self._lifecycle.ready and answers and not lacking

    def ready_for(self, versions: Sequence[Entry]) -> bool:
        """Whether clients should send requests for this model here: its highest ready version answers.

        `versions` ascend. A model is ready although others still load.
        """
        accepts = self._lifecycle.phase in (Phase.STARTING, Phase.SERVING) and not self._lifecycle.broken
        ready = [entry for entry in versions if entry.ready]
        return accepts and bool(ready) and ready[-1].answers()

    async def publish(self) -> None:
        """Call `on_change` if the readiness has changed."""
        if self._published is not self.ready:
            self._published = self.ready
            await self._on_change(self._published)

    def hanging(self) -> list[Device]:
        """The devices with an engine that takes too long for a batch, or that this process has lost."""
        return [device for device in self._devices if device.lost or device.running_for_s() > self._engine_limit_s]

    def complaint(self) -> str:
        """Why only a new process helps, for the log."""
        if self._decoders.failing:
            return f"{self._decoders.lost} decode threads hang"
        what = "was lost by this process" if any(device.lost for device in self._devices) else "hangs"
        return f"an engine {what} (a batch may take {self._engine_limit_s:.0f} s)"

    async def watch(self) -> None:
        """Returns when an engine hangs or is lost, or when too few decode threads are left."""
        while not (self.hanging() or self._decoders.failing):
            await self.publish()
            self._count_given_up(self._decoders.give_up_slow())
            for ready in self._sick():
                self._start_probe(ready)
            await asyncio.sleep(_CHECK_EVERY_S)

    def _sick(self) -> list[ReadyModel]:
        serving = [entry.ready for entry in self._repository.entries() if entry.ready]
        return [ready for ready in serving if ready.batcher.sick]

    def _start_probe(self, ready: ReadyModel) -> None:
        """Have a failing engine answer one image of the bundle's probe: while unready, no client may send one."""
        if ready not in self._probing:
            self._probing.add(ready)
            asyncio.create_task(self._probe(ready)).add_done_callback(lambda task: self._probing.discard(ready))

    async def _probe(self, ready: ReadyModel) -> None:
        try:
            (permit,) = ready.batcher.reserve(1, Caller(), time.monotonic() + self._engine_limit_s)
        except ServingError:
            return
        try:
            await permit.submit(ready.loaded.bundle.probe.pixels[0])
        except ServingError:
            return
        finally:
            permit.release()
