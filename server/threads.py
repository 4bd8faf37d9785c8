"""Threads: a few daemon threads that run functions for the event loop, in the order they were asked."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from server import cores

T = TypeVar("T")


class _Job:
    """One function to run. Either its thread begins it or its caller withdraws it, never both."""

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.function: Callable[[], Any] | None = function
        self.future: asyncio.Future[Any] = loop.create_future()
        self._loop = loop
        self._lock = threading.Lock()

    def claim(self) -> Callable[[], Any] | None:
        """Take the function out: for the thread to run it, or for the caller to withdraw it."""
        with self._lock:
            function, self.function = self.function, None
        return function

    def run(self, function: Callable[[], Any]) -> None:
        try:
            result, error = function(), None
        except BaseException as caught:  # whatever it is belongs to the caller; the thread goes on
            result, error = None, caught
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._finish, result, error)

    def _finish(self, result: Any, error: BaseException | None) -> None:
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Threads:
    """Daemons, because a thread cannot be stopped and the process must not wait for one at its exit."""

    def __init__(self, count: int, name: str) -> None:
        self.in_hand = 0  # jobs being run or waiting to be
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """The function's result, or what it raises.

        A caller cancelled before a thread began withdraws the work. One cancelled later returns only when the thread
        does, so that whoever counts the work in hand counts truly.
        """
        job = _Job(lambda: function(*arguments), asyncio.get_running_loop())
        self._jobs.put(job)
        self.in_hand += 1
        try:
            await asyncio.wait((job.future,))
        except asyncio.CancelledError:
            if job.claim() is None:
                await asyncio.wait((job.future,))
                job.future.exception()  # seen: asyncio shall not log it
            raise
        finally:
            self.in_hand -= 1
        result: T = job.future.result()
        return result

    def _work(self) -> None:
        cores.stand_back()
        while True:
            job = self._jobs.get()
            if function := job.claim():
                job.run(function)
            del job, function  # while there is nothing to do a thread holds on to nothing, a photo or an engine
