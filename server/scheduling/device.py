"""Device: all processors of one kind, the CPU or all GPUs. Each processor is a lane.

It has the queues of the models that run on it. To *bind* is to decide which waiting images make the next batch.

No batch waits for a timer. While a lane is idle an image leaves at once. While all lanes are busy images gather, and
the next batch is bound from what waits when a lane becomes free. A full batch is bound earlier, since waiting could not
improve it: the lane that will be free first takes it while its own batch still runs, lays it out in memory, and begins
with it if the engine can.
"""

import threading
from collections import deque
from collections.abc import Sequence

from server.errors import ServingError
from server.scheduling.batch import Batch, Item
from server.scheduling.lane import Lane
from server.scheduling.model_queue import ModelQueue


class Device:
    """Queues with waiting images take turns, batch by batch, so that one crowded model does not hold up another.

    One lock guards the queues and the lanes. All public methods are called on the event loop, and hold it for
    microseconds; lane threads enter by `_next`.
    """

    def __init__(self, name: str, lanes: int = 1) -> None:
        self.lanes = lanes
        self.hung = False  # an engine of it does not answer any more
        self.lost = False  # an engine of it cannot work again in this process
        self._changed = threading.Condition()
        self._queues: deque[ModelQueue] = deque()
        self._lanes = [Lane(number, self._changed, self._next) for number in range(lanes)]
        for lane in self._lanes:
            lane.open(f"{name}-{lane.number}")

    def attach(self, queue: ModelQueue) -> None:
        with self._changed:
            self._queues.append(queue)

    def detach(self, queue: ModelQueue) -> None:
        with self._changed:
            self._queues.remove(queue)

    def put(self, queue: ModelQueue, item: Item) -> None:
        """Add an item to an attached queue, and wake the lanes if one of them may take it."""
        with self._changed:
            queue.put(item)
            if any(self._may_bind(queue, lane) for lane in self._lanes):
                self._changed.notify_all()

    def withdraw(self, queue: ModelQueue, item: Item) -> bool:
        """Take an item out of its queue; False where a batch has it already."""
        with self._changed:
            return queue.withdraw(item)

    def free_in_s(self, queue: ModelQueue, ahead: int) -> float:
        """How long until a lane is free for what comes behind so many images of a queue.

        The other queues take turns with it. We predict as if all waiting work could be divided freely among the lanes:
        with one lane that is exact, with several it is wrong by less than a batch.
        """
        with self._changed:
            turns = 1 + ahead // queue.max_batch
            others = [other for other in self._queues if other is not queue]
            others_s = sum(other.needs_s(min(other.waiting(), turns * other.max_batch)) for other in others)
            return water_level_s([lane.left_s() for lane in self._lanes], others_s + queue.needs_s(ahead))

    def left_s(self) -> float:
        """How long until all that runs or is bound has ended."""
        with self._changed:
            return max(lane.left_s() for lane in self._lanes)

    def running_for_s(self) -> float:
        """How long an engine has had its batch, of several the longest; 0 while none has any."""
        with self._changed:
            return max(lane.running_for_s() for lane in self._lanes)

    def mark_lost(self) -> None:
        """An engine cannot work again in this process: only a new process helps."""
        self.lost = True

    def give_up(self, error: ServingError) -> None:
        """Answer all callers with the error, since an engine hangs and its thread cannot be stopped.

        The callers in the other lanes too: the process has to end, and what they lose is one batch.
        """
        with self._changed:
            self.hung = True
            stuck = [batch for lane in self._lanes for batch in lane.batches()]
            for queue in self._queues:
                queue.fail_all(error)
        for item in [item for batch in stuck for item in batch.items]:
            item.fail(error)

    def _next(self, lane: Lane) -> Batch | None:
        """A lane's next batch, if there is one for it now. In a lane thread, with the lock held."""
        for queue in [queue for queue in self._queues if self._may_bind(queue, lane)]:
            if batch := queue.bind(lane.number, None if lane.running else lane.since_s):
                self._queues.remove(queue)
                self._queues.append(queue)
                return batch
        return None

    def _may_bind(self, queue: ModelQueue, lane: Lane) -> bool:
        """A busy lane takes only full batches, and only if no other lane is idle or will be sooner."""
        if lane.bound:
            return False
        if lane.running:
            free = [each for each in self._lanes if not each.bound]
            return queue.waiting() >= queue.max_batch and lane is min(free, key=Lane.left_s)
        return queue.waiting() > 0


def water_level_s(busy_s: Sequence[float], work_s: float) -> float:
    """How long until lanes that are busy for so long have done this work too, if it can be cut anywhere.

    Water-filling: the work goes to the lanes that are free first. A further lane lowers the level as long as it is
    below it, so the lowest level over all numbers of lanes is the true one.
    """
    lowest = sorted(busy_s)
    return min((sum(lowest[:lanes]) + work_s) / lanes for lanes in range(1, len(lowest) + 1))
