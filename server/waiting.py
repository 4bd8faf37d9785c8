"""Waiting: the images that wait for one engine, and whose turn it is."""

from collections import OrderedDict, deque
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

_BULK_EVERY = 8


class Priority(StrEnum):
    """INTERACTIVE goes first. BULK takes what that leaves, and at least one place in eight, or it might never end."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Caller:
    """Whoever has images here, one request or one stream. Callers of a priority take turns, image by image."""

    __slots__ = ("priority",)

    def __init__(self, priority: Priority = Priority.INTERACTIVE) -> None:
        self.priority = priority


class Waits(Protocol):
    """What waits."""

    @property
    def caller(self) -> Caller: ...


T = TypeVar("T", bound=Waits)


class Waiting(Generic[T]):
    """Not safe between threads by itself: its device's lock guards it."""

    def __init__(self) -> None:
        self._turns: dict[Priority, OrderedDict[Caller, deque[T]]] = {each: OrderedDict() for each in Priority}
        self._count = 0
        self._since_bulk = 0

    def __len__(self) -> int:
        return self._count

    def put(self, item: T) -> None:
        self._turns[item.caller.priority].setdefault(item.caller, deque()).append(item)
        self._count += 1

    def put_back(self, item: T) -> None:
        """Undo a `take`: the item is the next again."""
        turns = self._turns[item.caller.priority]
        turns.setdefault(item.caller, deque()).appendleft(item)
        turns.move_to_end(item.caller, last=False)
        self._count += 1

    def take(self) -> T:
        """The next item; its caller's further ones come after everybody else's next. Raises IndexError when empty."""
        turns = self._turns[self._next_priority()]
        if not turns:
            raise IndexError("nothing waits")
        caller, items = turns.popitem(last=False)
        item = items.popleft()
        if items:
            turns[caller] = items
        self._count -= 1
        return item

    def withdraw(self, item: T) -> bool:
        """Whether the item was still waiting, and is not any more."""
        turns = self._turns[item.caller.priority]
        items = turns.get(item.caller)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del turns[item.caller]
        self._count -= 1
        return True

    def _next_priority(self) -> Priority:
        interactive, bulk = self._turns[Priority.INTERACTIVE], self._turns[Priority.BULK]
        if bulk and (not interactive or self._since_bulk >= _BULK_EVERY - 1):
            self._since_bulk = 0
            return Priority.BULK
        self._since_bulk = self._since_bulk + 1 if bulk else 0
        return Priority.INTERACTIVE
