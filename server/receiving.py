"""Receiving: how many bytes of requests the server holds at a time, over all connections of both faces."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable

from server.errors import Code, ServingError

_SMALL_BYTES = 1 << 20
"""A request of this size may use the whole budget, a larger one three quarters of it: uploads leave room for photos."""

_LARGE_SHARE = 0.75

_SLOW_AFTER_S = 0.5
"""A message that has been coming for longer than this gives way when somebody else has no room."""


class Receipt:
    """What one request holds of the budget, from its first byte until it is answered. Use it as a context manager."""

    def __init__(self, budget: "ReceiveBudget") -> None:
        self._budget = budget
        self.bytes = 0

    def __enter__(self) -> "Receipt":
        return self

    def __exit__(self, *_: object) -> None:
        self.shrink_by(self.bytes)

    def grow(self, count: int) -> None:
        """Hold more bytes. Raises ServingError QUEUE_FULL where the budget has no room for them."""
        if not self._budget.has_room(self.bytes, count):
            raise ServingError(
                Code.QUEUE_FULL, "Too many bytes are being received: try again in a moment.", retry_after_s=1
            )
        self.bytes += count
        self._budget.changed(count)

    def shrink_by(self, count: int) -> None:
        """Hold so many bytes less, of those that are still held."""
        count = min(count, self.bytes)
        self.bytes -= count
        self._budget.changed(-count)


class ReceiveBudget:
    """Lives on the event loop.

    REST counts bytes as they come. gRPC shows a message only when it is whole, so there a call holds the largest
    message allowed until it has its own (`promised`).
    """

    def __init__(self, limit_bytes: int) -> None:
        self.taken = 0
        self._limit = limit_bytes
        self._promises: OrderedDict[Receipt, tuple[float, Callable[[], object]]] = OrderedDict()
        self._room = asyncio.Event()

    def has_room(self, held: int, more: int) -> bool:
        """Whether a request that holds `held` bytes may hold `more` besides."""
        limit = self._limit if held + more <= _SMALL_BYTES else int(self._limit * _LARGE_SHARE)
        return self.taken + more <= limit

    def changed(self, count: int) -> None:
        self.taken += count
        if count < 0:
            self._room.set()

    async def hold(self, receipt: Receipt, count: int) -> None:
        """Hold `count` bytes; returns as soon as there is room.

        Where there is none, the oldest message that has been coming for half a second is told to give way: its
        sender is slow, or does not mean to finish.
        """
        while not self.has_room(receipt.bytes, count):
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), self._push_oldest())
        receipt.grow(count)

    async def promise(self, receipt: Receipt, count: int, give_way: Callable[[], object]) -> None:
        """Hold `count` bytes for a message of unknown size, which may be told to give way."""
        await self.hold(receipt, count)
        self._promises[receipt] = (asyncio.get_running_loop().time(), give_way)

    def redeem(self, receipt: Receipt) -> None:
        """The message is there, or will not come: nothing is held for it any more."""
        self._promises.pop(receipt, None)
        receipt.shrink_by(receipt.bytes)

    def _push_oldest(self) -> float | None:
        """Tell the oldest promise to give way if it is old enough; returns when to look again, if ever."""
        if not self._promises:
            return None
        receipt, (since_s, give_way) = next(iter(self._promises.items()))
        young_s = since_s + _SLOW_AFTER_S - asyncio.get_running_loop().time()
        if young_s > 0:
            return young_s
        del self._promises[receipt]
        give_way()
        return _SLOW_AFTER_S
