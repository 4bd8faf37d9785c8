"""WorkerProcess: the process that computes explanations, `python -m explain`. Runs on the event loop."""

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import msgspec

from explain.wire import LENGTH, Job, Reply, frame, message
from server.errors import Code, ServingError

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "explain")
_ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """Started by the first job, ended when there has been none for a while, killed when a job takes too long.

    It ends with this process, in whatever way that ends, because its standard input does.
    """

    def __init__(self, limit_s: float, idle_s: float = 300.0, command: Sequence[str] = COMMAND) -> None:
        self._limit_s = limit_s
        self._command = command
        self._idle_s = idle_s
        self._process: Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def run(self, job: Job) -> Reply:
        """One job at a time. Raises ServingError ENGINE_FAILED where the process dies or hangs; the next job gets
        another one.
        """
        if self._idle:
            self._idle.cancel()
        try:
            async with asyncio.timeout(self._limit_s):
                reply = await self._exchange(job)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
            log.error("the process for explanations failed (%s) and is started again", type(error).__name__)
            await self.close()
            raise ServingError(Code.ENGINE_FAILED, "The explanation failed: try again.") from None
        self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end_idle)
        return reply

    async def close(self) -> None:
        """End the process. It has no work that anybody waits for."""
        process, self._process = self._process, None
        if self._idle:
            self._idle.cancel()
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _exchange(self, job: Job) -> Reply:
        process = await self._running()
        assert process.stdin and process.stdout
        process.stdin.write(frame(job))
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        return message(await process.stdout.readexactly(length), Reply)

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(*self._command, cwd=_ROOT, stdin=PIPE, stdout=PIPE)
        return self._process

    def _end_idle(self) -> None:
        self._ending = asyncio.create_task(self.close())
