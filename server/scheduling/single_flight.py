"""SingleFlight: equal images that are asked for at the same time are computed once."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bundle.predictions import Probabilities
from server.errors import ServingError
from server.scheduling.batch import Row
from server.scheduling.fair_queue import Priority
from server.scheduling.permit import Permit
from server.trace import Trace


@dataclass(frozen=True, slots=True)
class Computed:
    """What equal images share: the engine's row, the seconds that decoding took, and the trace of the request that
    they were computed for, where its spans are recorded.
    """

    row: Row
    decode_s: float
    trace: Trace | None = None


_Key = tuple[bytes, Priority]  # the image's digest, and how urgent it is


class Waiter(asyncio.Future["Computed | ServingError"]):
    """The future outcome of one admitted image.

    To cancel it leaves its flight at once, and does not affect the others. The outcome is an error rather than raised:
    an exception would hold the frames that it went through, and so the photo.
    """

    def __init__(self, permit: Permit, leave: "Callable[[Waiter], None]") -> None:
        super().__init__()
        self.permit = permit
        self._leave = leave
        self._began_s = self._ended_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """From admission to the outcome."""
        return self._ended_s - self._began_s

    def end(self, outcome: "Computed | ServingError | BaseException") -> None:
        """Set the outcome. An exception that is no ServingError is a bug, and raised where this is awaited."""
        self._ended_s = time.monotonic()
        if isinstance(outcome, Computed | ServingError):
            self.set_result(outcome)
        else:
            self.set_exception(outcome)

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        self._leave(self)
        return super().cancel(msg)


def ended(permit: Permit, outcome: "Computed | ServingError") -> Waiter:
    """A waiter for what needs no computation. The permit is given back."""
    permit.release()
    waiter = Waiter(permit, lambda waiter: None)
    waiter.end(outcome)
    return waiter


class _Flight:
    """One computation, and who waits for it.

    It uses the permit of the first one, which is given back when the computation has ended. The permits of the others
    are given back as they leave.
    """

    def __init__(self, first: Permit, on_left: "Callable[[_Flight], None]") -> None:
        """`on_left` is called when the last one leaves."""
        self.first = first
        self._waiters: set[Waiter] = set()
        self._on_left = on_left

    def join(self, permit: Permit) -> Waiter:
        self.first.deadline.extend(permit.deadline.at_s)
        waiter = Waiter(permit, self.leave)
        self._waiters.add(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        self._waiters.remove(waiter)
        if waiter.permit is not self.first:
            waiter.permit.release()
        if not self._waiters:
            self._on_left(self)

    def end(self, outcome: "Computed | ServingError | BaseException") -> None:
        """Give everybody the outcome, and back the permits."""
        self.first.release()
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if waiter.permit is not self.first:
                waiter.permit.release()
            waiter.end(outcome)


class SingleFlight:
    """The computations under way, by the image's digest, and the results of the `remembered` last used images.

    All of it runs on the event loop.
    """

    def __init__(self, remembered: int = 0) -> None:
        self._flights: dict[_Key, _Flight] = {}
        self._results: OrderedDict[bytes, Probabilities] = OrderedDict()
        self._remembered = remembered

    def join(self, digest: bytes, permit: Permit, compute: Callable[[], Coroutine[Any, Any, Computed]]) -> Waiter:
        """The future outcome of an image: of `compute`, which begins now unless an equal image is already under way or
        remembered. All who wait for it get its result, or the ServingError that it raises. The permit is given back
        when it is not used any more.

        An interactive image does not join a bulk one, which would make it wait. When the last one leaves, the
        computation is cancelled.
        """
        if remembered := self._recall(digest):
            return ended(permit, remembered)
        flight = self._under_way(digest, permit.caller.priority) or self._begin(digest, permit, compute)
        return flight.join(permit)

    def alone(self, permit: Permit, compute: Callable[[], Coroutine[Any, Any, Computed]]) -> Waiter:
        """As `join`, for an image that is shared with nobody and not remembered."""
        task = asyncio.create_task(compute())

        def cancel(flight: _Flight) -> None:
            task.cancel()

        flight = _Flight(permit, cancel)
        task.add_done_callback(lambda task: flight.end(_outcome(task)))
        return flight.join(permit)

    def _recall(self, digest: bytes) -> Computed | None:
        """The remembered result of an image, or None. Its times and its batch are 0."""
        probabilities = self._results.get(digest)
        if probabilities is None:
            return None
        self._results.move_to_end(digest)
        return Computed(Row(probabilities, queue_s=0, infer_s=0, batch=0), decode_s=0)

    def _under_way(self, digest: bytes, priority: Priority) -> _Flight | None:
        interactive = self._flights.get((digest, Priority.INTERACTIVE))
        return interactive or self._flights.get((digest, priority))

    def _begin(self, digest: bytes, permit: Permit, compute: Callable[[], Coroutine[Any, Any, Computed]]) -> _Flight:
        key = digest, permit.caller.priority
        task = asyncio.create_task(compute())

        def cancel(flight: _Flight) -> None:
            self._remove(key, flight)  # a request that comes from now on begins anew
            task.cancel()

        flight = self._flights[key] = _Flight(permit, cancel)
        task.add_done_callback(lambda task: self._end(key, flight, task))
        return flight

    def _end(self, key: _Key, flight: _Flight, task: "asyncio.Task[Computed]") -> None:
        self._remove(key, flight)
        outcome = _outcome(task)
        if isinstance(outcome, Computed):
            self._remember(key[0], outcome)
        flight.end(outcome)

    def _remove(self, key: _Key, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _remember(self, digest: bytes, computed: Computed) -> None:
        if self._remembered:
            self._results[digest] = computed.row.probabilities.copy()  # not its whole batch
            if len(self._results) > self._remembered:
                self._results.popitem(last=False)


def _outcome(task: "asyncio.Task[Computed]") -> "Computed | ServingError | BaseException":
    """Of a task that has ended."""
    if task.cancelled():  # nobody waits any more
        return asyncio.CancelledError()
    error = task.exception()
    if error is None:
        return task.result()
    return error.fresh() if isinstance(error, ServingError) else error
