"""Admission: who gets permits of a queue, by how many are taken and when the answer is expected."""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable

from server.errors import Code, ServingError
from server.scheduling.deadline import too_late
from server.scheduling.fair_queue import Caller, Priority

_DOUBT = 0.5
"""While a queue is empty a deadline is missed only if half of the predicted time is too long.

A prediction may be twice too long. If it were always believed, a wrong one could refuse the very work that would
correct it.
"""

_MARGIN = 1.2
"""Predictions are means, but `max_wait_s` must hold for nearly all images. Under four times the load that could be
served, 99 of 100 admitted images were answered within 1.11 of the prediction, on a machine whose speed drifts by a
quarter."""

_WOKEN = 2
"""So many waiting callers are woken for each permit that is given back. With one, a permit would be lost for a while
whenever the woken caller tries in vain, and ever fewer would be in use."""


class Admission:
    """At most `permits` images between admission and answer, and none that would be answered later than `max_wait_s`.

    Bulk callers together have at most half of the permits, so that interactive ones find some free. No caller gets more
    than its fair share, which leaves one more share free for whoever comes next. A request that meets nobody else may
    have all permits. A patient caller waits instead of being refused. Its stream may last for ever, so it never gets
    all permits.

    All of it runs on the event loop.
    """

    def __init__(self, permits: int, max_wait_s: float) -> None:
        self.taken = 0
        self._permits = permits
        self._max_wait_s = max_wait_s
        self._held: dict[Priority, Counter[Caller]] = {priority: Counter() for priority in Priority}
        self._waiting: OrderedDict[Caller, deque[asyncio.Future[None]]] = OrderedDict()
        self._empty = asyncio.Event()
        self._empty.set()
        self.closed = False

    def take(
        self,
        images: int,
        caller: Caller,
        deadline_s: float,
        answered_in_s: Callable[[int], float],
        patient: bool = False,
    ) -> None:
        """Take a permit for each image, or none. `answered_in_s`: how long until so many new images of this caller are
        answered.

        Raises ServingError: QUEUE_FULL where too few permits are free, where the caller would have more than its share,
        or where the first image would be answered later than `max_wait_s`; DEADLINE where the last image would be
        answered too late.
        """
        self._refuse_if_full(images, caller.priority, answered_in_s)
        self._refuse_if_above_share(images, caller, patient, answered_in_s)
        needed_s = first_s = answered_in_s(1)
        if images > 1:
            needed_s = answered_in_s(images)
        if self.taken:
            self._refuse_if_long(first_s)
        else:
            needed_s *= _DOUBT
        if time.monotonic() + needed_s > deadline_s:
            raise too_late()
        self.taken += images
        self._held[caller.priority][caller] += images
        self._empty.clear()

    def give_back(self, caller: Caller) -> None:
        """Give one permit back."""
        self.taken -= 1
        held = self._held[caller.priority]
        held[caller] -= 1
        if not held[caller]:
            del held[caller]
        if not self.taken:
            self._empty.set()
        for _ in range(_WOKEN):
            self._wake()

    def ahead(self, images: int, caller: Caller) -> int:
        """How many images go before the last of so many new ones of a caller, as callers take turns."""
        held = self._held[caller.priority]
        before = held[caller]
        turns = images + before
        if turns == 1:  # the usual case: one image of each of the others goes before it
            before += len(held)
        else:
            before += sum(min(count, turns) for other, count in held.items() if other is not caller)
        if caller.priority is Priority.BULK:
            before += self._held[Priority.INTERACTIVE].total()
        return before

    async def wait_for_permit(self, caller: Caller) -> None:
        """Returns when a permit was given back that this caller may have, or the queue closes: the time to try again.

        A caller that is cancelled after it was woken, or does not try again, must call `pass_on`.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        await turn

    def pass_on(self) -> None:
        """Wake another waiting caller instead of one that was woken and has gone."""
        self._wake()

    async def idle(self) -> None:
        """Returns when every permit was given back."""
        await self._empty.wait()

    async def close(self) -> None:
        """Returns when every permit was given back. To be called once no request is sent here any more."""
        self.closed = True
        while self._waiting:
            self._wake()
        await self.idle()

    def _wake(self) -> None:
        """Wake one waiting request, of a caller that is below its share. Callers take turns."""
        for caller in list(self._waiting):
            if self.closed or not self._above_share(1, caller, patient=True):
                turns = self._waiting.pop(caller)
                turn = _next(turns)
                if turns:
                    self._waiting[caller] = turns
                if turn:
                    return turn.set_result(None)
        return None

    def _refuse_if_full(self, images: int, priority: Priority, answered_in_s: Callable[[int], float]) -> None:
        taken, permits = self.taken, self._permits
        if priority is Priority.BULK and (bulk := self._bulk()) and bulk + images > permits // 2:
            taken, permits = bulk, permits // 2
        missing = taken + images - permits
        if missing > 0:
            raise ServingError(
                Code.QUEUE_FULL,
                f"The model has {taken} of {permits} images in work: try again in a moment, or send fewer images.",
                retry_after_s=answered_in_s(missing),
            )

    def _refuse_if_above_share(
        self, images: int, caller: Caller, patient: bool, answered_in_s: Callable[[int], float]
    ) -> None:
        if self._above_share(images, caller, patient):
            raise ServingError(
                Code.QUEUE_FULL,
                f"{images} more images would be above a fair share of the {self._permits} permits: try again in a "
                "moment, or send fewer images.",
                retry_after_s=answered_in_s(1),
            )

    def _above_share(self, images: int, caller: Caller, patient: bool) -> bool:
        """Whether a caller would have more than its fair share of the permits. One permit is never too many."""
        wanted = self._held[caller.priority][caller] + images
        if wanted <= 1:
            return False
        others = [count for held in self._held.values() for other, count in held.items() if other is not caller]
        return wanted > fair_share(others, self._permits, newcomers=2 if others or patient else 1)

    def _bulk(self) -> int:
        """How many permits bulk callers have."""
        return self._held[Priority.BULK].total()

    def _refuse_if_long(self, answered_in_s: float) -> None:
        if answered_in_s * _MARGIN > self._max_wait_s:
            raise ServingError(
                Code.QUEUE_FULL,
                f"The answer would come after about {answered_in_s:.1f} s, and the server accepts at most "
                f"{self._max_wait_s:.1f} s: try again in a moment.",
                retry_after_s=answered_in_s - self._max_wait_s / _MARGIN,
            )


def fair_share(taken: Iterable[int], permits: int, newcomers: int) -> float:
    """The max-min fair share of newcomers: permits are dealt out evenly, and nobody is dealt more than it has taken.

    `taken`: how many each of the others has.
    """
    counts = sorted(taken)
    left = float(permits)
    for at, count in enumerate(counts):
        share = left / (len(counts) - at + newcomers)
        if count >= share:
            return share
        left -= count
    return left / newcomers


def _next(turns: "deque[asyncio.Future[None]]") -> "asyncio.Future[None] | None":
    """The first that was not cancelled."""
    while turns:
        turn = turns.popleft()
        if not turn.done():
            return turn
    return None
