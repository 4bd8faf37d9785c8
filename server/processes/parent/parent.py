"""Parent: runs one core and some fronts until it is told to leave, and ends them in order."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence

from server.host.exit_codes import CUT_SHORT, STOPPED
from server.processes.parent.child import ChildSpec, Ending
from server.processes.parent.reaper import Reaper
from server.processes.parent.supervisor import Limits, Supervisor

log = logging.getLogger(__name__)

_DELIBERATE_S = 1.0
"""A second signal within this time of the first does not count: make and process groups deliver each one twice."""

_DIES_IN_S = 2.0  # after SIGKILL; only a process inside a system call that cannot be interrupted takes longer


class Parent:
    """Runs on an event loop of its own process, in its main thread. Create it there."""

    def __init__(
        self,
        core: ChildSpec,
        fronts: Sequence[ChildSpec],
        limits: Limits,
        on_leaving: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_leaving` is called before the fronts are asked to leave: no other ones will be started."""
        self._reaper = Reaper()
        self._core = Supervisor(core, self._reaper, limits)
        self._fronts = [Supervisor(front, self._reaper, limits) for front in fronts]
        self._limits = limits
        self._on_leaving = on_leaving
        self._running: dict[Supervisor, asyncio.Task[Ending]] = {}
        self._leaving = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._left_at_s = 0.0
        self._killed_by = 0  # the signal

    async def run(self) -> int:
        """Returns the exit code: 0 all ended well after a signal, 1 some work was cut short or a child was killed, 128
        and a signal's number after a second signal, or the code that ended a child which is not started again. From
        then on this process ignores those signals, so that its exit code is this one.
        """
        with self._reaper, self._signals():
            everybody = [self._core, *self._fronts]
            self._running = {each: asyncio.create_task(each.run()) for each in everybody}
            try:
                failed = await self._until_told()
                await self._end_in_order()
            finally:  # also where this method is cancelled
                await self._end(everybody, 0)
            return 128 + self._killed_by if self._killed_by else failed or self._verdict()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # children inherit it: `stty tostop` would stop those that log
        hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []  # nohup ignores it
        handled = (signal.SIGTERM, signal.SIGINT, *hang_up)
        loop = asyncio.get_running_loop()
        for number in handled:
            loop.add_signal_handler(number, self._on_signal, number)
        yield
        signal.pthread_sigmask(signal.SIG_BLOCK, handled)  # none finds the default action, which would kill
        for number in handled:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)

    def _on_signal(self, number: signal.Signals) -> None:
        now_s = asyncio.get_running_loop().time()
        if not self._leaving.is_set():
            log.info("%s: the fronts leave, then the core", number.name)
            self._left_at_s = now_s
            self._leaving.set()
        elif now_s - self._left_at_s >= _DELIBERATE_S and not self._killed_by:
            log.warning("%s, a second signal: killing all", number.name)
            self._killed_by = number
            self._hurrying.set()
            for each in self._running:
                each.kill()

    async def _until_told(self) -> int:
        """Wait for a signal, or for a child that is not started again; returns the exit code of that one, or 0."""
        leaving = asyncio.create_task(self._leaving.wait())
        await asyncio.wait({leaving, *self._running.values()}, return_when=asyncio.FIRST_COMPLETED)
        if self._leaving.is_set():
            return 0
        leaving.cancel()
        failed = next(task.result() for task in self._running.values() if task.done())
        self._left_at_s = asyncio.get_running_loop().time()
        self._leaving.set()
        if not self._core.was_ever_ready:  # then no front has work
            await self._end(list(self._running), 0)
        return failed.code

    async def _end_in_order(self) -> None:
        self._on_leaving()
        for front in self._fronts:
            front.stop()
        await self._end(self._fronts, self._limits.fronts_leave_s)
        self._core.stop()
        await self._end([self._core], self._limits.core_leaves_s)

    async def _end(self, these: Sequence[Supervisor], limit_s: float) -> None:
        """Wait until these have ended, at most `limit_s` and not after a second signal; then kill those that run."""
        if tasks := self._unfinished(these):
            ended, hurrying = (
                asyncio.create_task(asyncio.wait(tasks.values())),
                asyncio.create_task(self._hurrying.wait()),
            )
            await asyncio.wait({ended, hurrying}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            hurrying.cancel()
        if late := self._unfinished(these):
            for each in late:
                log.warning("killing %s", each.name)
                each.kill()
            await asyncio.wait(late.values(), timeout=_DIES_IN_S)

    def _unfinished(self, these: Sequence[Supervisor]) -> dict[Supervisor, asyncio.Task[Ending]]:
        return {each: self._running[each] for each in these if not self._running[each].done()}

    def _verdict(self) -> int:
        endings = [task.result() for task in self._running.values() if task.done()]
        if len(endings) < len(self._running) or any(ending.cut_short for ending in endings):
            return CUT_SHORT
        return next((ending.code for ending in endings if ending.code > 0), STOPPED)
