"""Admission: who may have a place in a queue, by how many are taken and when the answer would be there."""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable

from server.errors import Code, ServingError
from server.waiting import Caller, Priority

_DOUBT = 0.5
"""A prediction may be twice too long: where nobody else has work here, only what takes half as long is refused.

Otherwise a prediction that is wrong could refuse the very work that would correct it.
"""

_MARGIN = 1.2
"""Predictions are means. Under four times the load that could be served, 99 of 100 admitted were answered within 1.11
of the prediction, on a machine whose speed drifts by a quarter; `max_wait_s` shall hold for them too."""


_WOKEN = 2
"""So many of those who wait for room are woken for each place given back. With one, whoever tries in vain would leave
its place to nobody, and fewer and fewer would be under way."""


class Admission:
    """At most `places` images between admission and answer, none that would be answered later than `max_wait_s`.

    Bulk callers together have at most half of the places, so that interactive ones find some free. No caller gets more
    than its fair share of them, with one more share left free for whoever comes next. Only a request that meets nobody
    else may have all places; a patient caller, which waits instead of being refused and so never ends, may not.
    """

    def __init__(self, places: int, max_wait_s: float) -> None:
        self.taken = 0
        self._places = places
        self._max_wait_s = max_wait_s
        self._callers: Counter[Caller] = Counter()
        self._room: OrderedDict[Caller, deque[asyncio.Future[None]]] = OrderedDict()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closed = False

    def take(
        self,
        images: int,
        caller: Caller,
        deadline_s: float,
        answered_in_s: Callable[[int], float],
        patient: bool = False,
    ) -> None:
        """Take so many places, or none; `answered_in_s`: how long until so many new images of this caller are answered.

        Raises ServingError: QUEUE_FULL where too few places are free, where the caller would have more than its share,
        or where the first image would be answered later than `max_wait_s`; DEADLINE where the last would be answered
        too late.
        """
        self._refuse_if_full(images, caller.priority, answered_in_s)
        self._refuse_if_greedy(images, caller, patient, answered_in_s)
        if self.taken:
            self._refuse_if_long(answered_in_s(1))
        needed_s = answered_in_s(images) * (1 if self.taken else _DOUBT)
        if time.monotonic() + needed_s > deadline_s:
            raise too_late()
        self.taken += images
        self._callers[caller] += images
        self._empty.clear()

    def give_back(self, caller: Caller) -> None:
        """Give one place back."""
        self.taken -= 1
        self._callers[caller] -= 1
        if not self._callers[caller]:
            del self._callers[caller]
        if not self.taken:
            self._empty.set()
        for _ in range(_WOKEN):
            self._wake()

    def ahead(self, images: int, caller: Caller) -> int:
        """Images that go before the last of so many new ones of a caller, as callers take turns."""
        turns = images + self._callers[caller]
        before = self._callers[caller]
        for other, count in self._callers.items():
            if other is caller or (caller.priority is Priority.INTERACTIVE and other.priority is Priority.BULK):
                continue
            before += min(count, turns) if other.priority is caller.priority else count
        return before

    async def room(self, caller: Caller) -> None:
        """Returns when a place was given back that this caller may have, or the queue closes: the time to try again."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.setdefault(caller, deque()).append(turn)
        await turn

    def pass_on(self) -> None:
        """To be called by who leaves after waiting for room: the place may have been given back to that one."""
        self._wake()

    async def idle(self) -> None:
        """Returns when every place was given back."""
        await self._empty.wait()

    async def close(self) -> None:
        """Returns when every place was given back. To be called once nobody is sent here any more."""
        self._closed = True
        while self._room:
            self._wake()
        await self.idle()

    def _wake(self) -> None:
        """Wake one of those who wait for room, of a caller that has not got its share; callers take turns."""
        for caller in list(self._room):
            if self._closed or not self._greedy(1, caller, patient=True):
                turns = self._room.pop(caller)
                turn = _next(turns)
                if turns:
                    self._room[caller] = turns
                if turn:
                    return turn.set_result(None)
        return None

    def _refuse_if_full(self, images: int, priority: Priority, answered_in_s: Callable[[int], float]) -> None:
        taken, places = self.taken, self._places
        if priority is Priority.BULK and (bulk := self._bulk()) and bulk + images > places // 2:
            taken, places = bulk, places // 2
        missing = taken + images - places
        if missing > 0:
            raise ServingError(
                Code.QUEUE_FULL,
                f"{taken} of {places} places are taken: try again in a moment, or send fewer images.",
                retry_after_s=answered_in_s(missing),
            )

    def _refuse_if_greedy(
        self, images: int, caller: Caller, patient: bool, answered_in_s: Callable[[int], float]
    ) -> None:
        if self._greedy(images, caller, patient):
            raise ServingError(
                Code.QUEUE_FULL,
                f"{images} more images would be above a fair share of the {self._places} places: try again in a "
                "moment, or send fewer images.",
                retry_after_s=answered_in_s(1),
            )

    def _greedy(self, images: int, caller: Caller, patient: bool) -> bool:
        """Whether a caller would have more than its fair share of the places. One place is never too many."""
        wanted = self._callers[caller] + images
        if wanted <= 1:
            return False
        others = [count for other, count in self._callers.items() if other is not caller]
        return wanted > level(others, self._places, newcomers=2 if others or patient else 1)

    def _bulk(self) -> int:
        return sum(count for caller, count in self._callers.items() if caller.priority is Priority.BULK)

    def _refuse_if_long(self, answered_in_s: float) -> None:
        if answered_in_s * _MARGIN > self._max_wait_s:
            raise ServingError(
                Code.QUEUE_FULL,
                f"It would be answered after about {answered_in_s:.1f} s, and nobody is let wait longer than "
                f"{self._max_wait_s:.1f} s: try again in a moment.",
                retry_after_s=answered_in_s - self._max_wait_s / _MARGIN,
            )


def level(taken: Iterable[int], places: int, newcomers: int) -> float:
    """The max-min fair share of newcomers: places are dealt out evenly, and nobody is dealt more than it has taken."""
    counts = sorted(taken)
    left = float(places)
    for at, count in enumerate(counts):
        share = left / (len(counts) - at + newcomers)
        if count >= share:
            return share
        left -= count
    return left / newcomers


def _next(turns: "deque[asyncio.Future[None]]") -> "asyncio.Future[None] | None":
    """The first whose caller has not left."""
    while turns:
        turn = turns.popleft()
        if not turn.done():
            return turn
    return None


def too_late() -> ServingError:
    return ServingError(Code.DEADLINE, "The answer would come after the deadline: allow more time.")
