"""Reaper: waits for every process that ends, the children and the orphans that this process adopted."""

import asyncio
import contextlib
import os
import signal
from types import TracebackType

from server.processes.parent import prctl


class Reaper:
    """Reaps on SIGCHLD while it is entered as a context. All of it runs on the event loop of one process."""

    def __init__(self) -> None:
        self._ended: dict[int, asyncio.Future[int]] = {}

    def __enter__(self) -> "Reaper":
        prctl.adopt_orphans()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def watch(self, pid: int) -> "asyncio.Future[int]":
        """The exit code of a child that was just started, once it has ended: minus a signal's number for a signal.

        The child leads a process group. What is left of the group is killed when the child has ended.
        """
        return self._ended.setdefault(pid, asyncio.get_running_loop().create_future())

    def _reap(self) -> None:
        while (pid := _dead()) is not None:
            ended = self._ended.pop(pid, None)
            if ended is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # before the pid is free for others
            _, status = os.waitpid(pid, 0)
            if ended is not None and not ended.done():
                ended.set_result(os.waitstatus_to_exitcode(status))


def _dead() -> int | None:
    """The pid of a child that has ended and is not reaped yet."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there are no children
        return None
    return None if found is None else found.si_pid
