"""Supervisor: keeps one child running: starts it again when it ends, and kills it when it hangs."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from server.processes.parent.backoff import Backoff
from server.processes.parent.child import Child, ChildSpec, Ending
from server.processes.parent.reaper import Reaper

log = logging.getLogger(__name__)

_CHECKS = 10
_NOT_STARTED = 127  # the code of shells for a command that cannot be started
_NOTHING_RAN = Ending(0, 0.0, False)


@dataclass(frozen=True)
class Limits:
    """How long children may take."""

    fronts_leave_s: float  # from SIGTERM to SIGKILL
    core_leaves_s: float = 10.0  # the same, after the last front has ended
    hang_s: float = 20.0  # without a sign of life
    longest_pause_s: float = 5.0  # before a child is started again

    @classmethod
    def of_drain(cls, drain_delay_s: float, drain_limit_s: float) -> "Limits":
        """Fronts accept work for `drain_delay_s`, answer it within `drain_limit_s`, and have 5 s for what remains."""
        return cls(drain_delay_s + drain_limit_s + 5.0)


class Supervisor:
    """Runs on the event loop of the parent."""

    def __init__(self, spec: ChildSpec, reaper: Reaper, limits: Limits) -> None:
        self.name = spec.name
        self.starts = 0
        self.hangs = 0
        self._spec = spec
        self._reaper = reaper
        self._limits = limits
        self._child: Child | None = None
        self._was_ready = False
        self._stopping = asyncio.Event()

    @property
    def was_ever_ready(self) -> bool:
        return self._was_ready or (self._child is not None and self._child.ready)

    async def run(self) -> Ending:
        """Returns how the child ended that is not started again: after `stop`, or with a fatal code before any child
        of this name was ready.
        """
        backoff = Backoff(self._limits.longest_pause_s)
        ending = _NOTHING_RAN
        while not self._stopping.is_set():
            ending = await self._live()
            self._was_ready = self._was_ready or ending.ready
            if self._stopping.is_set():
                log.info("%s %s", self.name, ending)
            elif ending.code in self._spec.fatal_codes and not self._was_ready:
                log.error("%s %s and was never ready: stopping", self.name, ending)
                break
            else:
                await self._pause(ending, backoff.pause_s(ending.lived_s))
                ending = _NOTHING_RAN
        return ending

    def stop(self) -> None:
        """Ask the child to leave, and do not start it again."""
        self._stopping.set()
        if self._child:
            self._child.terminate()

    def kill(self) -> None:
        """Kill the child and its process group, and do not start it again."""
        self._stopping.set()
        if self._child:
            self._child.kill()

    async def _live(self) -> Ending:
        self.starts += 1
        try:
            self._child = child = Child(self._spec, self._reaper, self.starts - 1)
        except OSError as error:
            log.error("%s cannot be started (%s)", self.name, error)
            return Ending(_NOT_STARTED, 0.0, False)
        log.info("%s started pid=%d", self.name, child.pid)
        watching = asyncio.create_task(self._watch(child))
        try:
            return await child.ended()
        finally:
            watching.cancel()
            self._child = None

    async def _watch(self, child: Child) -> None:
        """Kill a child that gives no sign of life. Checks are counted, not seconds: while the parent itself was
        stopped, it has not listened either.
        """
        limit_s = self._limits.hang_s
        hangs = False
        while not hangs:
            await asyncio.sleep(limit_s / _CHECKS)
            hangs = child.silent_checks() > _CHECKS
        self.hangs += 1
        log.error("%s pid=%d hangs (no sign of life for %.0f s): kill %d", self.name, child.pid, limit_s, self.hangs)
        child.kill()

    async def _pause(self, ending: Ending, pause_s: float) -> None:
        when = f"in {pause_s:.1f} s" if pause_s else "at once"
        log.warning("%s %s: starting it again %s (start %d)", self.name, ending, when, self.starts + 1)
        if pause_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
