"""FairQueue: decides whose turn it is among images that wait for an engine, or for a decode thread."""

import heapq
import itertools
import math
from collections import deque
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from server.keys.account import Account

_BULK_EVERY = 8
_STALE = 64  # entries in a heap that are not worth a clean-up


class Priority(StrEnum):
    """INTERACTIVE goes first. BULK gets the remaining turns, and at least one in eight, or it might never end."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Caller:
    """The sender of images: one request, or all streams of one connection, or all that have the same key. Callers of
    one priority take turns.

    `key`: the name of its key, if it has one. `account`: what pays for its images, in the process that admits them.
    """

    __slots__ = ("__weakref__", "account", "key", "priority")

    def __init__(
        self, priority: Priority = Priority.INTERACTIVE, key: str = "", account: Account | None = None
    ) -> None:
        self.priority = priority
        self.key = key
        self.account = account


class Queued(Protocol):
    """An item that can wait here. `work` is what it costs, in any unit that all items of a queue share."""

    @property
    def caller(self) -> Caller: ...

    @property
    def work(self) -> float: ...


T = TypeVar("T", bound=Queued)
_Entry = tuple[float, int, Caller]  # virtual finish time of the caller's next item, order of arrival, caller


class _Turns(Generic[T]):
    """The items of one priority. A caller's own items stay in order.

    Between callers the item with the smallest virtual finish time is next (self-clocked fair queueing, Golestani 1994):
    two callers get the same amount of work done, however many items they have and however large these are. If all items
    cost the same, callers simply alternate.
    """

    def __init__(self) -> None:
        self.owed: dict[Caller, float] = {}  # the work that waits, of each caller that has any
        self._items: dict[Caller, deque[T]] = {}
        self._heap: list[_Entry] = []
        self._entries: dict[Caller, _Entry] = {}  # each caller's valid entry; others in the heap are stale
        self._clock = 0.0
        self._arrivals = itertools.count()
        self._first = itertools.count(-1, -1)

    def put(self, item: T) -> None:
        items = self._items.setdefault(item.caller, deque())
        items.append(item)
        self.owed[item.caller] = self.owed.get(item.caller, 0.0) + item.work
        if len(items) == 1:
            self._enter(item.caller, self._clock + item.work, next(self._arrivals))

    def put_back(self, item: T) -> None:
        self._items.setdefault(item.caller, deque()).appendleft(item)
        self.owed[item.caller] = self.owed.get(item.caller, 0.0) + item.work
        self._enter(item.caller, -math.inf, next(self._first))

    def take(self, most_work: float) -> T | None:
        """The next item of at most so much work, if there is one. Items of more work keep their turn."""
        skipped: list[_Entry] = []
        taken = None
        while taken is None and self._heap:
            entry = heapq.heappop(self._heap)
            if self._entries.get(entry[2]) is not entry:
                continue
            if self._items[entry[2]][0].work > most_work:
                skipped.append(entry)
            else:
                taken = self._remove_first(entry)
        for entry in skipped:
            heapq.heappush(self._heap, entry)
        return taken

    def withdraw(self, item: T) -> bool:
        items = self._items.get(item.caller)
        if items is None or item not in items:
            return False
        items.remove(item)
        self._removed(item)
        return True

    def _enter(self, caller: Caller, finish: float, order: int) -> None:
        self._entries[caller] = entry = (finish, order, caller)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + _STALE:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def _remove_first(self, entry: _Entry) -> T:
        finish, _, caller = entry
        self._clock = max(self._clock, finish)
        items = self._items[caller]
        item = items.popleft()
        if items:
            self._enter(caller, self._clock + items[0].work, next(self._arrivals))
        self._removed(item)
        return item

    def _removed(self, item: T) -> None:
        if self._items[item.caller]:
            self.owed[item.caller] -= item.work
        else:
            del self._items[item.caller], self._entries[item.caller], self.owed[item.caller]


class FairQueue(Generic[T]):
    """Not thread-safe: its owner guards it with a lock."""

    def __init__(self) -> None:
        self._turns: dict[Priority, _Turns[T]] = {each: _Turns() for each in Priority}
        self._count = 0
        self._since_bulk = 0

    def __len__(self) -> int:
        return self._count

    def work(self) -> float:
        """The work of all items that wait."""
        return sum(sum(turns.owed.values()) for turns in self._turns.values())

    def put(self, item: T) -> None:
        self._turns[item.caller.priority].put(item)
        self._count += 1

    def put_back(self, item: T) -> None:
        """Undo a `take`: the item comes next again."""
        self._turns[item.caller.priority].put_back(item)
        self._count += 1

    def take(self, most_work: float = math.inf) -> T | None:
        """The next item of at most so much work, or None. Its caller's further items follow everybody else's next."""
        first, second = self._order()
        item = self._turns[first].take(most_work)
        if item is None:
            item = self._turns[second].take(most_work)
        if item is not None:
            self._count -= 1
            passed_over = item.caller.priority is Priority.INTERACTIVE and self._turns[Priority.BULK].owed
            self._since_bulk = self._since_bulk + 1 if passed_over else 0
        return item

    def withdraw(self, item: T) -> bool:
        """Take an item out; False where it does not wait here any more."""
        there = self._turns[item.caller.priority].withdraw(item)
        self._count -= there
        return there

    def ahead(self, work: float, caller: Caller) -> float:
        """The work that is done before so much new work of a caller would be."""
        own = self._turns[caller.priority].owed.get(caller, 0.0)
        before = own
        for other, owed in self._turns[caller.priority].owed.items():
            if other is not caller:
                before += min(owed, own + work)
        if caller.priority is Priority.BULK:
            before += sum(self._turns[Priority.INTERACTIVE].owed.values())
        return before

    def _order(self) -> tuple[Priority, Priority]:
        if self._since_bulk >= _BULK_EVERY - 1:
            return Priority.BULK, Priority.INTERACTIVE
        return Priority.INTERACTIVE, Priority.BULK
