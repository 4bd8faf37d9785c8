"""Threads: a pool of daemon threads that run functions for the event loop. Callers take turns."""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from server.errors import ServingError
from server.host import cores
from server.scheduling.fair_queue import Caller, FairQueue

T = TypeVar("T")


class _Job(asyncio.Future[Any]):
    """One function to run, and the future of its result.

    To cancel it takes it out of the queue. A job that a thread has begun is not cancelled: whoever awaits it is
    cancelled when it has ended, so that a permit is not given back while its work goes on.
    """

    def __init__(
        self, function: Callable[[], Any], caller: Caller, work: float, withdraw: "Callable[[_Job], bool]"
    ) -> None:
        super().__init__()
        self.caller = caller
        self.work = work
        self._function = function
        self._withdraw = withdraw

    def cancel(self, msg: Any | None = None) -> bool:
        return self._withdraw(self) and super().cancel(msg)

    def run(self) -> None:
        """Run the function. In a thread of the pool.

        A ServingError is handed on as a result: as an exception it would hold the frames that it went through, and so
        the photo, until the garbage collector finds the cycle.
        """
        result, error = None, None
        try:
            result = self._function()
        except ServingError as refused:
            result = refused.fresh()
        except BaseException as caught:  # any error goes to the caller; the thread goes on
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.get_loop().call_soon_threadsafe(self.finish, result, error)

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Set the outcome. On the event loop."""
        if self.done():
            return  # the job was given up
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)


class _Worker:
    """One thread, its current job, and since when it has run. The pool's lock guards the fields.

    `most_work`: the thread takes no job of more work.
    """

    def __init__(self, most_work: float, lock: threading.Lock) -> None:
        self.most_work = most_work
        self.woken = threading.Condition(lock)
        self.job: _Job | None = None
        self.since_s = 0.0
        self.given_up = False


class Threads:
    """The threads are daemons: a thread cannot be stopped, and the process must not wait for one at its exit.

    Large jobs, of more than `large` work, never occupy all threads. Where there are several threads, one of them takes
    only small jobs, so that an ordinary photo never waits for a large one.

    `run`, `give_up` and `close` are called on the event loop, `done_in`, `left` and `waiting` anywhere. One lock guards
    the queue and the workers.
    """

    def __init__(self, count: int, name: str, large: float = math.inf) -> None:
        self.count = count
        self.given_up = 0  # jobs, since the start
        self.lost = 0  # threads that still run a job that was given up
        self._name = name
        self._large = large
        self._lock = threading.Lock()
        self._closed = False
        self._queue: FairQueue[_Job] = FairQueue()
        self._idle: list[_Worker] = []
        limits = [math.inf] * count if count == 1 else [large, *[math.inf] * (count - 1)]
        self._workers = [_Worker(limit, self._lock) for limit in limits]
        for number, worker in enumerate(self._workers):
            self._open(worker, number)

    async def run(
        self, function: Callable[..., T], *arguments: Any, caller: Caller | None = None, work: float = 1.0
    ) -> T:
        """The function's result, or what it raises.

        If the caller is cancelled before a thread began, the job leaves the queue. If it is cancelled later, this
        returns only when the thread has ended the job, so that a permit is not given back while its work goes on.
        """
        outcome: T | ServingError = await self._job(partial(function, *arguments), caller or Caller(), work)
        if isinstance(outcome, ServingError):
            raise outcome.fresh()
        return outcome

    async def run_or_leave(self, function: Callable[..., T], *arguments: Any) -> T:
        """As `run`, but if the caller is cancelled it does not wait for the thread: nothing depends on its end.

        For what waits for other machines, so that the process need not.
        """
        outcome: T = await asyncio.shield(self._job(partial(function, *arguments), Caller(), 1.0))
        return outcome

    def _job(self, function: Callable[[], Any], caller: Caller, work: float) -> _Job:
        """A job that is in the queue."""
        job = _Job(function, caller, work, self._withdraw)
        with self._lock:
            self._queue.put(job)
            self._wake_one(work)
        return job

    def done_in(self, work: float, caller: Caller) -> float:
        """How much work one thread does until so much new work of a caller is done, the new work included."""
        with self._lock:
            able = [worker for worker in self._workers if work <= worker.most_work]
            if work <= self._large:  # a small job does not wait for a large one while another thread has a small one
                able = [each for each in able if not each.job or each.job.work <= self._large] or able
            running = sum(worker.job.work for worker in able if worker.job)
            return (running + self._queue.ahead(work, caller) + work) / len(able)

    def left(self) -> float:
        """How much work one thread does until all jobs are done."""
        with self._lock:
            running = sum(worker.job.work for worker in self._workers if worker.job)
            return (running + self._queue.work()) / self.count

    def waiting(self) -> int:
        """How many jobs no thread has begun."""
        return len(self._queue)

    def give_up(self, limit_s: float, error: ServingError) -> Sequence[float]:
        """Fail the jobs that have run for longer than the limit, and replace their threads.

        Returns how many seconds each had run.
        """
        now_s = time.monotonic()
        with self._lock:
            stuck = [(at, each) for at, each in enumerate(self._workers) if each.job and now_s - each.since_s > limit_s]
            for at, worker in stuck:
                worker.given_up = True
                self.given_up += 1
                self.lost += 1
                self._workers[at] = _Worker(worker.most_work, self._lock)
        for at, worker in stuck:
            assert worker.job is not None
            worker.job.finish(error.fresh(), None)
            self._open(self._workers[at], at)
        return [now_s - worker.since_s for _, worker in stuck]

    def close(self) -> None:
        """End the threads as soon as they are idle. `run` may not be called any more."""
        with self._lock:
            self._closed = True
            for worker in self._idle:
                worker.woken.notify()

    def _withdraw(self, job: _Job) -> bool:
        with self._lock:
            return self._queue.withdraw(job)

    def _wake_one(self, work: float) -> None:
        """Wake an idle thread that may take so much work; of several the one with the lowest limit."""
        able = [worker for worker in self._idle if work <= worker.most_work]
        if able:
            chosen = min(able, key=lambda worker: worker.most_work)
            self._idle.remove(chosen)
            chosen.woken.notify()

    def _open(self, worker: _Worker, number: int) -> None:
        threading.Thread(target=self._work, args=(worker,), name=f"{self._name}-{number}", daemon=True).start()

    def _work(self, worker: _Worker) -> None:
        cores.lower_priority(cores.Niceness.POOL)
        while job := self._next(worker):
            job.run()
            del job  # an idle thread must not hold a photo or an engine

    def _next(self, worker: _Worker) -> _Job | None:
        """Wait for the worker's next job; None where the worker was replaced, or the pool is closed. In its thread."""
        with self._lock:
            worker.job = None
            if worker.given_up:
                self.lost -= 1
                return None
            while (job := self._queue.take(worker.most_work)) is None:
                if self._closed:
                    return None
                self._idle.append(worker)
                worker.woken.wait()
            worker.job, worker.since_s = job, time.monotonic()
            return job
