"""Threads that work for the event loop, and callers who leave."""

import asyncio
import contextlib
import gc
import sys
import threading

import pytest

from server.errors import Code, ServingError
from server.scheduling.threads import Threads

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_back() -> None:
    threads = Threads(2, "test")
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    assert await threads.run(divmod, 8, 2) == (4, 0)


async def test_work_withdrawn_before_it_began_is_never_done() -> None:
    threads, gate, done = Threads(1, "test"), threading.Event(), list[int]()
    blocking = asyncio.create_task(threads.run(gate.wait))
    withdrawn = asyncio.create_task(threads.run(done.append, 1))
    await asyncio.sleep(0)
    withdrawn.cancel()
    await asyncio.wait((withdrawn,))
    gate.set()
    await blocking
    await threads.run(done.append, 2)
    assert done == [2]


async def test_a_caller_cancelled_while_the_thread_works_returns_when_the_thread_does() -> None:
    threads, began, gate = Threads(1, "test"), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        gate.wait()
        raise ValueError("nobody hears this")

    task = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(began.wait)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    await asyncio.wait((task,))
    assert task.cancelled()


async def test_threads_never_keep_the_process_alive() -> None:
    Threads(1, "daemonic")
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("daemonic"))


async def test_closed_threads_end_when_their_work_is_done() -> None:
    threads, gate = Threads(2, "closing"), threading.Event()
    blocking = asyncio.create_task(threads.run(gate.wait))
    await asyncio.sleep(0)
    threads.close()
    gate.set()
    await blocking
    while any(thread.name.startswith("closing") for thread in threading.enumerate()):
        await asyncio.sleep(0.01)


async def test_what_a_refused_job_was_given_is_let_go_of_at_once() -> None:
    threads, photo = Threads(1, "test"), bytes(1000)

    def refuse(given: bytes) -> None:
        try:
            raise ValueError(given)
        except ValueError as error:
            raise ServingError(Code.BAD_IMAGE, "no") from error

    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(photo)
        for _ in range(5):
            with contextlib.suppress(ServingError):
                await threads.run(refuse, photo)
        await threads.run(len, b"")
        await asyncio.sleep(0)
        assert sys.getrefcount(photo) == before
    finally:
        gc.enable()
