"""Receiving: how many bytes of requests the server holds at a time, over all connections of both faces."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable

from server.errors import Code, ServingError

_SMALL_BYTES = 1 << 20
"""Up to this size a request may use the whole budget, a larger one three quarters: so uploads leave room for photos."""

_LARGE_SHARE = 0.75

_SLOW_AFTER_S = 0.5
"""A message that takes longer to arrive is rejected when another one has no room."""


class Receipt:
    """What one request holds of the budget, from its first byte until its answer is computed, but not yet
    written. A context manager.
    """

    def __init__(self, budget: "ReceiveBudget") -> None:
        self._budget = budget
        self.bytes = 0

    def __enter__(self) -> "Receipt":
        return self

    def __exit__(self, *_: object) -> None:
        self.shrink_by(self.bytes)

    def grow(self, count: int) -> None:
        """Hold more bytes. Raises ServingError QUEUE_FULL if the budget has no room for them."""
        if not self._budget.has_room(self.bytes, count):
            raise ServingError(
                Code.QUEUE_FULL, "Too many bytes are being received: try again in a moment.", retry_after_s=1
            )
        self.bytes += count
        self._budget.changed(count)

    def shrink_by(self, count: int) -> None:
        """Hold so many bytes less, but never less than none."""
        count = min(count, self.bytes)
        self.bytes -= count
        self._budget.changed(-count)


class ReceiveBudget:
    """The bytes that requests may hold together. Used on the event loop only.

    REST counts bytes as they arrive. gRPC shows a message only when it is whole. So a call first holds the size of the
    largest message allowed (`promise`), and its own size when its message is there (`redeem`, then `grow`).
    """

    def __init__(self, limit_bytes: int) -> None:
        self.taken = 0
        self._limit = limit_bytes
        self._promises: OrderedDict[Receipt, tuple[float, Callable[[], object]]] = OrderedDict()
        self._room = asyncio.Event()

    def has_room(self, held: int, more: int) -> bool:
        """Whether a request that holds `held` bytes may hold `more` in addition."""
        limit = self._limit if held + more <= _SMALL_BYTES else int(self._limit * _LARGE_SHARE)
        return self.taken + more <= limit

    def changed(self, count: int) -> None:
        self.taken += count
        if count < 0:
            self._room.set()

    async def hold(self, receipt: Receipt, count: int) -> None:
        """Hold `count` bytes. Returns as soon as there is room.

        If there is none, the oldest message that has been arriving for half a second has to give way: its sender is
        slow, or does not mean to finish.
        """
        while not self.has_room(receipt.bytes, count):
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), self._push_oldest())
        receipt.grow(count)

    async def promise(self, receipt: Receipt, count: int, give_way: Callable[[], object]) -> None:
        """Hold `count` bytes for a message of unknown size. `give_way` is called if another one needs the room."""
        await self.hold(receipt, count)
        self._promises[receipt] = (asyncio.get_running_loop().time(), give_way)

    def redeem(self, receipt: Receipt) -> None:
        """The message has arrived, or will not: nothing is held for it any more."""
        self._promises.pop(receipt, None)
        receipt.shrink_by(receipt.bytes)

    def _push_oldest(self) -> float | None:
        """Make the oldest promise give way if it is old enough. Returns the seconds until the next look, or None."""
        if not self._promises:
            return None
        receipt, (since_s, give_way) = next(iter(self._promises.items()))
        young_s = since_s + _SLOW_AFTER_S - asyncio.get_running_loop().time()
        if young_s > 0:
            return young_s
        del self._promises[receipt]
        give_way()
        return _SLOW_AFTER_S
