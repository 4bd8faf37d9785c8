"""Lane: two threads that take turns at one processor's engines, one batch at a time.

While one thread waits for the end of its batch, the other may lay out the next batch in memory, and begin with it if
the engine can.
"""

import threading
import time
from collections.abc import Callable

from server.host import cores
from server.scheduling.batch import Batch


class Lane:
    """A processor of a device. The device's lock guards it: public methods are called with that lock held, and the
    lane's own threads take it before they change a field.
    """

    def __init__(self, number: int, changed: threading.Condition, take: "Callable[[Lane], Batch | None]") -> None:
        """`take` returns the lane's next batch if there is one for it now. Lane threads call it with the lock held."""
        self.number = number
        self.bound: Batch | None = None
        self.running: Batch | None = None
        self.since_s = time.monotonic()  # when it last began or ended a batch
        self._bound_at_s = self.since_s
        self._changed = changed
        self._take = take

    def open(self, name: str) -> None:
        """Start the threads."""
        for number in range(2):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def batches(self) -> list[Batch]:
        """Those that run or are bound."""
        return [batch for batch in (self.running, self.bound) if batch]

    def left_s(self) -> float:
        """How long until it is idle. A batch that is late by some time is expected to need that time once more."""
        running_s = abs(self.since_s + self.running.expected_s - time.monotonic()) if self.running else 0.0
        return running_s + (self.bound.expected_s if self.bound else 0.0)

    def running_for_s(self) -> float:
        """How long the engine has had its batch; 0 while it has none. A bound batch counts while no other runs, since
        an engine may hang as it begins.
        """
        if not self.batches():
            return 0.0
        return time.monotonic() - (self.since_s if self.running else max(self.since_s, self._bound_at_s))

    def _work(self) -> None:
        cores.lower_priority(cores.Niceness.ENGINE)
        while True:
            batch = self._bind()
            batch.prepare()
            self._begin(batch)
            batch.run()
            self._end()
            del batch  # it may hold the last reference to the engine of a model that was retired

    def _bind(self) -> Batch:
        with self._changed:
            while not (batch := self._take(self)):
                self._changed.wait()
            self.bound, self._bound_at_s = batch, time.monotonic()
            self._changed.notify_all()  # what still waits may be for another lane
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
