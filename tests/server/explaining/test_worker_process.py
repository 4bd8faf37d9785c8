"""The process for explanations from the server's side: it may die, hang or talk nonsense, and is started again."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bundle import files
from explain.explanation import Wanted
from explain.wire import Job
from server.errors import Code, ServingError
from server.explaining.worker_process import COMMAND, WorkerProcess
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio

_READ_ALL = "import sys; sys.stdin.buffer.read()"
_DIES = "import sys; sys.stdin.buffer.read(4); sys.exit(3)"
_NONSENSE = "import sys, time; sys.stdout.buffer.write(b'\\0\\0\\0\\1x'); sys.stdout.flush(); sys.stdin.buffer.read()"


@pytest.fixture
def job(demo: Path) -> Job:
    sha256 = files.read(demo).graph("fp32")[0].sha256
    return Job(str(demo), sha256, jpeg(), Wanted(), 50_000_000, False)


@contextlib.asynccontextmanager
async def worker(limit_s: float = 600, idle_s: float = 600, program: str = "") -> AsyncIterator[WorkerProcess]:
    process = WorkerProcess(limit_s, idle_s, (sys.executable, "-c", program) if program else COMMAND)
    try:
        yield process
    finally:
        await process.close()


async def test_one_process_serves_many_jobs(job: Job) -> None:
    async with worker() as process:
        first = await process.run(job)
        pid = process.pid
        assert pid and first.explanation
        again = (await process.run(job)).explanation
        assert again and again.excitations == first.explanation.excitations
        assert process.pid == pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_process_that_was_killed_is_started_again(job: Job) -> None:
    async with worker() as process:
        await process.run(job)
        pid = process.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        while process.pid is not None:
            await asyncio.sleep(0.01)
        assert (await process.run(job)).explanation
        assert process.pid not in (None, pid)


@pytest.mark.parametrize("program", [_DIES, _NONSENSE])
async def test_a_job_that_kills_the_process_or_gets_nonsense_is_an_error(job: Job, program: str) -> None:
    async with worker(program=program) as process:
        for _ in range(2):
            with pytest.raises(ServingError, match="try again") as caught:
                await process.run(job)
            assert caught.value.code is Code.ENGINE_FAILED
            assert process.pid is None


async def test_a_process_that_hangs_is_killed(job: Job) -> None:
    async with worker(limit_s=0.2, program=_READ_ALL) as process:
        with pytest.raises(ServingError) as caught:
            await process.run(job)
        assert caught.value.code is Code.ENGINE_FAILED
        assert process.pid is None


async def test_a_process_without_jobs_ends(job: Job) -> None:
    async with worker(idle_s=0.05) as process:
        await process.run(job)
        while process.pid is not None:
            await asyncio.sleep(0.01)
        assert (await process.run(job)).explanation
