"""ShadowProcess: the server's side of the process that computes copies of photos. Runs on the event loop."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import msgspec

from server.shadow.wire import LENGTH, Failure, Job, Reply, frame, reply

COMMAND = (sys.executable, "-m", "server.shadow")
_ROOT = Path(__file__).parents[2]


class ShadowFailed(Exception):
    """A job has no result. The message says why."""


class ShadowProcess:
    """Started by the first job, and killed when a job takes too long or is cancelled, so that no reply is read late.

    It ends with this process, in whatever way that ends, because its standard input does.
    """

    def __init__(self, limit_s: float, command: Sequence[str] = COMMAND) -> None:
        self._limit_s = limit_s
        self._command = command
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process, with what is open in it."""
        return self._process is not None and self._process.returncode is None

    async def run(self, job: Job) -> Reply:
        """One job at a time. Raises ShadowFailed; where the process died or hung, the next job gets another one."""
        try:
            async with asyncio.timeout(self._limit_s):
                replied = await self._exchange(job)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
            await self.close()
            why = "took too long" if isinstance(error, TimeoutError) else "died"
            raise ShadowFailed(f"its process {why}, and is started again") from None
        except BaseException:
            await self.close()
            raise
        if isinstance(replied, Failure):
            raise ShadowFailed(replied.detail)
        return replied

    async def close(self) -> None:
        """End the process. Nobody waits for its work."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _exchange(self, job: Job) -> Reply:
        if not self.running:
            self._process = await asyncio.create_subprocess_exec(*self._command, cwd=_ROOT, stdin=PIPE, stdout=PIPE)
        assert self._process and self._process.stdin and self._process.stdout
        stdout = self._process.stdout
        self._process.stdin.write(frame(job))
        await self._process.stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        return reply(await stdout.readexactly(length))
