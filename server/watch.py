"""Watch: finds engines and decode threads that hang, and tries engines that fail."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from server.decoding.decoders import Decoders
from server.errors import Code, ServingError
from server.registry.catalogue import Catalogue
from server.registry.loader import ReadyModel
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import NOW
from server.scheduling.permit import Retired

log = logging.getLogger(__name__)


class Watch(Protocol):
    """All of it runs on the event loop; what is watched works in threads of its own."""

    @property
    def complaint(self) -> str:
        """Why only a new process helps; empty while none is needed."""
        ...

    def look(self) -> None:
        """Look after what is watched. To be called twice a second."""
        ...

    def give_up(self) -> None:
        """A new process must take over: fail what will never be answered."""
        ...


class EngineWatch:
    """Watches the engines.

    One that fails gets an image of its bundle's probe: while the server is unready, perhaps no client sends one.
    """

    def __init__(self, devices: Sequence[Device], catalogue: Catalogue, limit_s: float) -> None:
        """`limit_s`: an engine that takes longer for a batch hangs."""
        self._devices = devices
        self._catalogue = catalogue
        self._limit_s = limit_s
        self._probing: dict[ReadyModel, asyncio.Task[None]] = {}

    @property
    def complaint(self) -> str:
        if any(device.lost for device in self._devices):
            return "an engine was lost by this process"
        if self._hanging():
            return f"an engine hangs (a batch may take {self._limit_s:.0f} s)"
        return ""

    def look(self) -> None:
        for ready in self._catalogue.sick():
            if ready not in self._probing:
                self._probing[ready] = asyncio.create_task(self._probe(ready))

    def give_up(self) -> None:
        for device in self._hanging():
            device.give_up(ServingError(Code.ENGINE_FAILED, "The engine does not answer: send the request again."))

    def _hanging(self) -> list[Device]:
        return [device for device in self._devices if device.lost or device.running_for_s() > self._limit_s]

    async def _probe(self, ready: ReadyModel) -> None:
        try:
            await self._answer_probe(ready)
        except (ServingError, Retired):  # the next look tries again
            log.debug("an engine that fails was tried in vain")
        finally:
            del self._probing[ready]

    async def _answer_probe(self, ready: ReadyModel) -> None:
        (permit,) = await ready.queue.admit(1, Caller(), time.monotonic() + self._limit_s, NOW, patient=False)
        try:
            await permit.submit(ready.loaded.bundle.probe.pixels[0])
        finally:
            permit.release()


class DecodeWatch:
    """Watches the decode threads. A photo that takes too long is given up, and its thread replaced."""

    def __init__(self, decoders: Decoders, count_given_up: Callable[[int], object]) -> None:
        self._decoders = decoders
        self._count_given_up = count_given_up

    @property
    def complaint(self) -> str:
        return f"{self._decoders.lost} decode threads hang" if self._decoders.failing else ""

    def look(self) -> None:
        self._count_given_up(self._decoders.give_up_slow())

    def give_up(self) -> None:
        """Their callers have their answers."""
