"""Lane: two threads that take turns at one processor's engines, one batch at a time.

While one of them waits for the end of its batch, the other may lay out the next one in memory, and begin it if the
engine can.
"""

import threading
import time
from collections.abc import Callable

from server import cores
from server.batch import Batch


class Lane:
    """A processor of a device. The device's lock guards it: all that is public is called with that held."""

    def __init__(self, number: int, changed: threading.Condition, take: "Callable[[Lane], Batch | None]") -> None:
        """`take`: the lane's next batch, where there is one for it in this moment; called with the lock held."""
        self.number = number
        self.bound: Batch | None = None
        self.running: Batch | None = None
        self.since_s = time.monotonic()  # when it last began or ended a batch
        self._bound_at_s = self.since_s
        self._changed = changed
        self._take = take

    def open(self, name: str) -> None:
        for number in range(2):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def batches(self) -> list[Batch]:
        """What it has in hand."""
        return [batch for batch in (self.running, self.bound) if batch]

    def left_s(self) -> float:
        """How long until it is idle: a batch that is late is expected to need as long again as it is late."""
        running_s = abs(self.since_s + self.running.expected_s - time.monotonic()) if self.running else 0.0
        return running_s + (self.bound.expected_s if self.bound else 0.0)

    def running_for_s(self) -> float:
        """How long the engine has had its batch, or has been beginning with one alone; 0 while it has none."""
        if not self.batches():
            return 0.0
        return time.monotonic() - (self.since_s if self.running else max(self.since_s, self._bound_at_s))

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
            while not (batch := self._take(self)):
                self._changed.wait()
            self.bound, self._bound_at_s = batch, time.monotonic()
            self._changed.notify_all()  # the next one is another lane's
            return batch

    def _begin(self, batch: Batch) -> None:
        with self._changed:
            while self.running:
                self._changed.wait()
            self.bound, self.running, self.since_s = None, batch, time.monotonic()
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self.running, self.since_s = None, time.monotonic()
            self._changed.notify_all()
