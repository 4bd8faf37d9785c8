"""Embedded: the parts inside a process of another program, which receives requests and hands them to the faces."""

import asyncio
import logging
from typing import Any

from bundle.errors import BundleError
from server.lifecycle import Phase
from server.startup.compose import Parts

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_BACKEND_ENDS_IN_S = 5.0  # a build of plans that is under way


class Embedded:
    """Loads, serves, watches and drains as `App` does, without ports, signals and exit codes. On the event loop."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._loaded = False
        self._complaints: list[str] = []
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def complaint(self) -> str:
        """Why another process should take over; empty while this one answers, or was started without models."""
        if self._complaints:
            return "; ".join(self._complaints)
        return "" if self.parts.health.ready or not self._loaded else "no model answers: see its /readyz"

    async def start(self, load: bool = True) -> None:
        """Returns when requests are answered. Without `load` no model is loaded yet. Raises BundleError."""
        await self.parts.backend.prepare()
        if load and not await self.parts.backend.load():
            raise BundleError(
                "Not every model could be loaded: the log says why. Repair or remove those that could not, or serve "
                "the others with the setting keep_going."
            )
        self._loaded = load
        self.parts.lifecycle.advance(Phase.SERVING)
        await self.parts.health.publish()
        self._tasks = [asyncio.create_task(self.parts.backend.keep()), asyncio.create_task(self._watch())]

    async def stop(self) -> bool:
        """Accept nothing new, and let admitted work end. Returns whether all of it did within `drain_limit_s`."""
        parts = self.parts
        parts.lifecycle.advance(Phase.DRAINING)
        parts.rest.end_receiving()
        await parts.rpc.stop(0)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_BACKEND_ENDS_IN_S)
        try:
            async with asyncio.timeout(parts.settings.drain_limit_s):
                await parts.backend.idle()
                if parts.explainer:
                    await parts.explainer.idle()
        except TimeoutError:
            log.warning("stopped: some admitted work was cut short")
        await parts.close()
        return parts.backend.unanswered() == 0

    async def _watch(self) -> None:
        """Returns when only a new process helps; then the callers of what hangs have their error."""
        watches = self.parts.watches
        while not (complaints := [watch.complaint for watch in watches if watch.complaint]):
            await self.parts.health.publish()
            for watch in watches:
                watch.look()
            await asyncio.sleep(_LOOK_EVERY_S)
        log.critical("%s: this process must be replaced", "; ".join(complaints))
        self._complaints = complaints
        self.parts.lifecycle.break_down()
        for watch in watches:
            watch.give_up()
        await self.parts.health.publish()
