"""A model's queue without a device: which images a batch gets, and which are still counted."""

import asyncio
import time
from functools import partial

import numpy as np
import pytest

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.errors import Code, ServingError
from server.scheduling.asked import Asked
from server.scheduling.batch import Batch, Reason
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Caller
from server.scheduling.latency import LatencyModel
from server.scheduling.model_queue import ModelQueue
from tests.support.gate import picture

pytestmark = pytest.mark.anyio


def rows(pixels: Pixels) -> Probabilities:
    return np.asarray(pixels[:, 0, 0, :1], np.float32)


class Queue:
    """A queue of a model with one lane, whose engine answers each image with its own number."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.done: list[tuple[int, Batch]] = []
        start = lambda pixels: partial(rows, pixels)  # noqa: E731
        self.queue = ModelQueue([start], LatencyModel(seconds), max(seconds), lambda *done: self.done.append(done))

    def put(self, number: int, timeout_s: float = 60) -> Asked:
        item = Asked(picture(number), Caller(), Deadline(time.monotonic() + timeout_s), self.queue.withdraw)
        self.queue.put(item)
        return item


async def answers(batch: Batch) -> list[float]:
    batch.prepare()
    batch.run()
    items = [item for item in batch.items if isinstance(item, Asked)]
    return [float((await item).probabilities[0]) for item in items]


async def test_a_batch_is_bound_from_what_waits_and_counted_until_it_is_answered() -> None:
    queue = Queue({1: 1e-3, 2: 1e-3, 4: 1e-3})
    for number in range(5):
        queue.put(number)
    batch = queue.queue.bind(0, idle_since_s=None)
    assert batch and batch.reason is Reason.FULL
    assert (queue.queue.waiting(), queue.queue.in_engine()) == (1, 4)
    assert await answers(batch) == [0, 1, 2, 3]
    assert queue.queue.in_engine() == 0
    assert queue.done == [(0, batch)]


async def test_an_idle_lane_gets_what_came_since() -> None:
    queue, since_s = Queue({1: 1e-3, 4: 1e-3}), time.monotonic()
    queue.put(1)
    batch = queue.queue.bind(0, since_s)
    assert batch and batch.reason is Reason.IDLE


async def test_nothing_is_bound_where_no_image_can_be_answered_in_time() -> None:
    queue = Queue({1: 10.0})
    item = queue.put(1, timeout_s=1)
    assert queue.queue.bind(0, None) is None
    with pytest.raises(ServingError) as late:
        await asyncio.wait_for(item, 9)
    assert late.value.code is Code.DEADLINE
    assert (queue.queue.waiting(), queue.queue.in_engine()) == (0, 0)


async def test_an_item_can_be_withdrawn_until_a_batch_has_it() -> None:
    queue = Queue({1: 1e-3})
    first, second = queue.put(1), queue.put(2)
    assert queue.queue.withdraw(second)
    assert not queue.queue.withdraw(second)
    assert queue.queue.bind(0, None)
    assert not queue.queue.withdraw(first)


async def test_all_that_waits_can_be_failed() -> None:
    queue = Queue({1: 1e-3})
    items = [queue.put(number) for number in range(3)]
    queue.queue.fail_all(ServingError(Code.ENGINE_FAILED, "hangs"))
    assert queue.queue.waiting() == 0
    for item in items:
        with pytest.raises(ServingError, match="hangs"):
            item.result()


async def test_an_abandoned_item_does_not_reach_the_engine() -> None:
    queue = Queue({1: 1e-3, 2: 1e-3})
    gone, stays = queue.put(1), queue.put(2)
    batch = queue.queue.bind(0, None)
    assert batch
    assert not gone.cancel()
    batch.prepare()
    batch.run()
    row = await stays
    assert (float(row.probabilities[0]), row.batch, batch.ran) == (2, 1, 1)
    assert isinstance(gone.exception(), ServingError)
