"""SingleFlight: equal images that are asked for at the same time are computed once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bundle.predictions import Probabilities
from server.scheduling.batch import Row
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Priority


@dataclass(frozen=True, slots=True)
class Computed:
    """What equal images share: the engine's row, and the seconds that decoding took."""

    row: Row
    decode_s: float


_Key = tuple[bytes, Priority]  # the image's digest, and how urgent it is


class _Flight:
    """One computation, and how many requests wait for it. `deadline` is the latest of theirs."""

    def __init__(self, key: _Key, task: "asyncio.Task[Computed]", deadline: Deadline) -> None:
        self.key = key
        self.task = task
        self.deadline = deadline
        self.waiters = 0


class SingleFlight:
    """The computations under way, by the image's digest, and the results of the `remembered` last used images.

    All of it runs on the event loop.
    """

    def __init__(self, remembered: int = 0) -> None:
        self._flights: dict[_Key, _Flight] = {}
        self._results: OrderedDict[bytes, Probabilities] = OrderedDict()
        self._remembered = remembered

    def recall(self, digest: bytes) -> Computed | None:
        """The remembered result of an image, or None. Its times and its batch are 0."""
        probabilities = self._results.get(digest)
        if probabilities is None:
            return None
        self._results.move_to_end(digest)
        return Computed(Row(probabilities, queue_s=0, infer_s=0, batch=0), decode_s=0)

    async def join(
        self,
        digest: bytes,
        priority: Priority,
        deadline: Deadline,
        compute: Callable[[], Coroutine[Any, Any, Computed]],
    ) -> Computed:
        """The result of `compute`, which begins now unless an equal image is already under way. All who wait for it get
        its result, or the error that it raises.

        An interactive image does not join a bulk one, which would make it wait.

        Cancelling one waiter does not affect the others. When the last waiter is cancelled, so is the computation; that
        waiter returns only when it has ended, so that its permit is not given back before.
        """
        flight = self._under_way(digest, priority) or self._begin((digest, priority), deadline, compute)
        flight.deadline.extend(deadline.at_s)
        flight.waiters += 1
        try:
            await asyncio.wait((flight.task,))
        except asyncio.CancelledError:
            if flight.waiters == 1:
                self._end(flight)  # a request that comes from now on begins anew
                flight.task.cancel()
                await asyncio.wait((flight.task,))
            raise
        finally:
            flight.waiters -= 1
        try:
            return flight.task.result()
        finally:
            del flight  # its error would hold this frame, and the frame the error

    def _under_way(self, digest: bytes, priority: Priority) -> _Flight | None:
        interactive = self._flights.get((digest, Priority.INTERACTIVE))
        return interactive or self._flights.get((digest, priority))

    def _begin(self, key: _Key, deadline: Deadline, compute: Callable[[], Coroutine[Any, Any, Computed]]) -> _Flight:
        flight = self._flights[key] = _Flight(key, asyncio.create_task(compute()), deadline)
        flight.task.add_done_callback(lambda task: self._end(flight))
        return flight

    def _end(self, flight: _Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        task = flight.task
        if self._remembered and task.done() and not task.cancelled() and task.exception() is None:
            self._results[flight.key[0]] = task.result().row.probabilities.copy()  # not its whole batch
            if len(self._results) > self._remembered:
                self._results.popitem(last=False)
