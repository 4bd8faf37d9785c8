"""Device: the processors of one kind, a lane each, and the queues of the models that run on them.

There is no timer. While a lane is idle an image leaves at once. While all are busy images gather, and the next batch is
bound in the moment a lane is free, from what waits then. Where a full batch waits already nothing could be won by
binding it later: while the lane that will be free first still runs another it is bound there, laid out in memory, and
begun if the engine can.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from server.batch import Batch, Item
from server.errors import ServingError
from server.lane import Lane


class Line(Protocol):
    """Images that wait for one model of the device. All but `put` is called with the device's lock held."""

    max_batch: int

    def waits(self) -> int: ...

    def put(self, item: Item) -> None: ...

    def withdraw(self, item: Item) -> bool: ...

    def bind(self, lane: int, idle_since_s: float | None) -> Batch | None:
        """The next batch, for that lane's engine, if any image still is worth the work.

        `idle_since_s` where the lane has nothing to do.
        """
        ...

    def needs_s(self, images: int) -> float:
        """How long so many images, in full batches, will take one lane."""
        ...

    def empty(self, error: ServingError) -> None:
        """Fail all that waits; on the event loop."""
        ...


class Device:
    """Lines with waiting images take turns, batch by batch, so that one crowded model does not hold up another."""

    def __init__(self, name: str, lanes: int = 1) -> None:
        self.lanes = lanes
        self.hung = False
        self._changed = threading.Condition()
        self._lines: deque[Line] = deque()
        self._lanes = [Lane(number, self._changed, self._next) for number in range(lanes)]
        for lane in self._lanes:
            lane.open(f"{name}-{lane.number}")

    def attach(self, line: Line) -> None:
        with self._changed:
            self._lines.append(line)

    def detach(self, line: Line) -> None:
        with self._changed:
            self._lines.remove(line)

    def put(self, line: Line, item: Item) -> None:
        with self._changed:
            line.put(item)
            if any(self._may_bind(line, lane) for lane in self._lanes):
                self._changed.notify_all()

    def withdraw(self, line: Line, item: Item) -> bool:
        """Whether the item was still waiting, and is not any more."""
        with self._changed:
            return line.withdraw(item)

    def free_in_s(self, line: Line, ahead: int) -> float:
        """How long until a lane is free for what comes behind so many images of a line.

        The other lines take turns with it. All of that work counts as if it could be cut anywhere and shared out among
        the lanes: with one lane that is exact, with several it is wrong by less than a batch.
        """
        with self._changed:
            turns = 1 + ahead // line.max_batch
            others = [other for other in self._lines if other is not line]
            others_s = sum(other.needs_s(min(other.waits(), turns * other.max_batch)) for other in others)
            return poured([lane.left_s() for lane in self._lanes], others_s + line.needs_s(ahead))

    def left_s(self) -> float:
        """How long until all that runs or is bound has ended."""
        with self._changed:
            return max(lane.left_s() for lane in self._lanes)

    def running_for_s(self) -> float:
        """How long an engine has had its batch, of several the longest; 0 while none has any."""
        with self._changed:
            return max(lane.running_for_s() for lane in self._lanes)

    def give_up(self, error: ServingError) -> None:
        """An engine hangs, and a thread cannot be stopped: all callers are told. On the event loop.

        Those in the other lanes too: the process has to end, and what they lose is one batch.
        """
        with self._changed:
            self.hung = True
            stuck = [batch for lane in self._lanes for batch in lane.batches()]
            for line in self._lines:
                line.empty(error)
        for item in [item for batch in stuck for item in batch.items]:
            item.fail(error)

    def _next(self, lane: Lane) -> Batch | None:
        for line in [line for line in self._lines if self._may_bind(line, lane)]:
            if batch := line.bind(lane.number, None if lane.running else lane.since_s):
                self._lines.remove(line)
                self._lines.append(line)
                return batch
        return None

    def _may_bind(self, line: Line, lane: Lane) -> bool:
        """A lane that is busy takes a full batch only, and leaves it to one that is idle, or will be sooner."""
        if lane.bound:
            return False
        if lane.running:
            free = [each for each in self._lanes if not each.bound]
            return line.waits() >= line.max_batch and lane is min(free, key=Lane.left_s)
        return line.waits() > 0


def poured(busy_s: Sequence[float], work_s: float) -> float:
    """How long until lanes, each busy for so long, have done this work too: it fills them like water, the lowest first.

    A further lane lowers the level as long as it is below it, so that of all levels the lowest is the true one.
    """
    lowest = sorted(busy_s)
    return min((sum(lowest[:lanes]) + work_s) / lanes for lanes in range(1, len(lowest) + 1))
