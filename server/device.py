"""Device: two threads that take turns at the engines of one device, one batch at a time.

There is no timer. While the device is idle an image leaves at once. While it is busy images gather, and the next batch
is bound in the moment the device is free, from what waits then. Where a full batch waits already nothing could be won
by binding it later: while the one before it still runs it is bound, laid out in memory, and begun if the engine can.
"""

import threading
import time
from collections import deque
from typing import Protocol

from server import cores
from server.batch import Batch, Item
from server.errors import ServingError


class Line(Protocol):
    """Images that wait for one engine of the device. All but `put` is called with the device's lock held."""

    max_batch: int

    def waits(self) -> int: ...

    def put(self, item: Item) -> None: ...

    def withdraw(self, item: Item) -> bool: ...

    def bind(self, idle_since_s: float | None) -> Batch | None:
        """The next batch, if any image still is worth the work; `idle_since_s` where the device has nothing to do."""
        ...

    def needs_s(self, images: int) -> float:
        """How long so many images, in full batches, will take."""
        ...

    def empty(self, error: ServingError) -> None:
        """Fail all that waits; on the event loop."""
        ...


class Device:
    """Lines with waiting images take turns, batch by batch, so that one crowded model does not hold up another."""

    def __init__(self, name: str) -> None:
        self.hung = False
        self._changed = threading.Condition()
        self._lines: deque[Line] = deque()
        self._bound: Batch | None = None
        self._running: Batch | None = None
        self._since_s = time.monotonic()  # when the device last began or ended a batch
        for number in range(2):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def attach(self, line: Line) -> None:
        with self._changed:
            self._lines.append(line)

    def detach(self, line: Line) -> None:
        with self._changed:
            self._lines.remove(line)

    def put(self, line: Line, item: Item) -> None:
        with self._changed:
            line.put(item)
            if self._may_bind(line):
                self._changed.notify_all()

    def withdraw(self, line: Line, item: Item) -> bool:
        """Whether the item was still waiting, and is not any more."""
        with self._changed:
            return line.withdraw(item)

    def free_in_s(self, line: Line, images: int) -> float:
        """How long until the device is free for a line that already has so many images.

        A batch that is late is expected to need as long again as it is late.
        """
        now_s = time.monotonic()
        with self._changed:
            left_s = abs(self._since_s + self._running.expected_s - now_s) if self._running else 0.0
            left_s += self._bound.expected_s if self._bound else 0.0
            turns = 1 + images // line.max_batch
            others = [other for other in self._lines if other is not line]
            return left_s + sum(other.needs_s(min(other.waits(), turns * other.max_batch)) for other in others)

    def running_for_s(self) -> float:
        """How long the engine has had its batch; 0 while it has none."""
        with self._changed:
            return time.monotonic() - self._since_s if self._running else 0.0

    def give_up(self, error: ServingError) -> None:
        """The engine hangs, and a thread cannot be stopped: all callers are told. On the event loop."""
        with self._changed:
            self.hung = True
            stuck = [batch for batch in (self._running, self._bound) if batch]
            for line in self._lines:
                line.empty(error)
        for item in [item for batch in stuck for item in batch.items]:
            item.fail(error)

    def _work(self) -> None:
        cores.stand_back()
        while True:
            batch = self._bind()
            batch.prepare()
            self._begin(batch)
            batch.run()
            self._end()
            del batch  # and with it, perhaps, the engine of a model that has left

    def _bind(self) -> Batch:
        with self._changed:
            while not (batch := self._next()):
                self._changed.wait()
            self._bound = batch
            return batch

    def _next(self) -> Batch | None:
        for line in [line for line in self._lines if self._may_bind(line)]:
            if batch := line.bind(None if self._running else self._since_s):
                self._lines.remove(line)
                self._lines.append(line)
                return batch
        return None

    def _may_bind(self, line: Line) -> bool:
        return not self._bound and line.waits() >= (line.max_batch if self._running else 1)

    def _begin(self, batch: Batch) -> None:
        with self._changed:
            while self._running:
                self._changed.wait()
            self._bound, self._running, self._since_s = None, batch, time.monotonic()
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._running, self._since_s = None, time.monotonic()
            self._changed.notify_all()
