"""The batcher: no timer, late binding, true places, and callers who leave."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.images import Picture, Pixels
from bundle.predictions import Probabilities
from server.batcher import Batcher, Device, Place
from server.engines import EngineFailed
from server.errors import Code, ServingError

pytestmark = pytest.mark.anyio


def picture(number: int) -> Picture:
    return np.full((2, 2, 3), number, dtype=np.uint8)


class Gate:
    """An engine that holds each batch until it is let through; every image's answer is its own number."""

    def __init__(self, open: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self._through = threading.Semaphore(0)
        self._open = open

    def run(self, pixels: Pixels) -> Probabilities:
        self.batches.append([int(image[0, 0, 0]) for image in pixels])
        self.entered.release()
        if not self._open:
            assert self._through.acquire(timeout=20)
        return pixels[:, 0, 0, :1].astype(np.float32)

    def let_through(self, batches: int = 1) -> None:
        self._through.release(batches)

    async def until_entered(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


def begin(place: Place, number: int) -> "asyncio.Task[float]":
    """A caller as the service is one: its place is given back when its task ends."""

    async def ask() -> float:
        return float((await place.submit(picture(number))).probabilities[0])

    task = asyncio.create_task(ask())
    task.add_done_callback(lambda _: place.release())
    return task


async def test_an_idle_device_takes_an_image_at_once_and_a_busy_one_all_that_wait() -> None:
    gate = Gate()
    batcher = Batcher(gate.run, Device("test"), places=16, max_batch=4)
    places = batcher.reserve(8)
    first = begin(places[0], 0)
    await gate.until_entered()
    later = [begin(place, number) for number, place in enumerate(places[1:], start=1)]
    while len(batcher.waiting) < 7:
        await asyncio.sleep(0)
    gate.let_through(3)
    assert await asyncio.gather(first, *later) == list(range(8))
    assert gate.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


async def test_places_are_bounded_and_all_or_none() -> None:
    batcher = Batcher(Gate().run, Device("test"), places=4, max_batch=4)
    places = batcher.reserve(3)
    with pytest.raises(ServingError) as refused:
        batcher.reserve(2)
    assert (refused.value.code, refused.value.retry_after_s) == (Code.QUEUE_FULL, 1)
    assert batcher.taken == 3
    for place in places:
        place.release()
    assert len(batcher.reserve(4)) == 4


async def test_a_place_given_back_twice_is_a_bug() -> None:
    (place,) = Batcher(Gate().run, Device("test"), places=1, max_batch=1).reserve(1)
    place.release()
    with pytest.raises(RuntimeError, match="This is a bug"):
        place.release()


async def test_who_leaves_while_waiting_costs_the_engine_nothing() -> None:
    gate = Gate()
    batcher = Batcher(gate.run, Device("test"), places=8, max_batch=8)
    places = batcher.reserve(3)
    running = begin(places[0], 0)
    await gate.until_entered()
    leaving, staying = begin(places[1], 1), begin(places[2], 2)
    while len(batcher.waiting) < 2:
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait((leaving,))
    assert batcher.taken == 2
    gate.let_through(2)
    assert (await running, await staying) == (0, 2)
    assert gate.batches == [[0], [2]]


async def test_who_leaves_while_in_the_engine_keeps_the_place_until_the_batch_ends() -> None:
    gate = Gate()
    batcher = Batcher(gate.run, Device("test"), places=1, max_batch=1)
    task = begin(batcher.reserve(1)[0], 7)
    await gate.until_entered()
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert (task.done(), batcher.taken) == (False, 1)
    gate.let_through()
    await asyncio.wait((task,))
    assert (task.cancelled(), batcher.taken) == (True, 0)


def _raises(pixels: Pixels) -> Probabilities:
    raise EngineFailed("out of memory")


def _breaks(pixels: Pixels) -> Probabilities:
    raise MemoryError


@pytest.mark.parametrize("run", [_raises, _breaks])
async def test_a_failing_batch_fails_its_callers_and_the_next_one_works(run: Callable[[Pixels], Probabilities]) -> None:
    healthy = Gate(open=True)
    failing = True
    batcher = Batcher(lambda pixels: (run if failing else healthy.run)(pixels), Device("test"), places=4, max_batch=4)
    with pytest.raises(ServingError) as failed:
        await begin(batcher.reserve(1)[0], 1)
    assert failed.value.code is Code.ENGINE_FAILED
    assert "memory" not in failed.value.detail
    failing = False
    assert await begin(batcher.reserve(1)[0], 2) == 2
    assert batcher.taken == 0


async def test_several_batchers_share_a_device_and_the_longest_waiting_goes_first() -> None:
    gate, device = Gate(), Device("test")
    one, two = (Batcher(gate.run, device, places=8, max_batch=8) for _ in range(2))
    tasks = [begin(one.reserve(1)[0], 0)]
    await gate.until_entered()
    for batcher, number in ((two, 10), (one, 1), (two, 11)):
        tasks.append(begin(batcher.reserve(1)[0], number))
        await asyncio.sleep(0)
    while len(one.waiting) + len(two.waiting) < 3:
        await asyncio.sleep(0)
    gate.let_through(3)
    assert await asyncio.gather(*tasks) == [0, 10, 1, 11]
    assert gate.batches == [[0], [10, 11], [1]]


@given(
    leaving=st.lists(st.tuples(st.integers(0, 63), st.integers(0, 6)), max_size=60),
    max_batch=st.integers(1, 16),
)
@settings(max_examples=40, deadline=None)
def test_whoever_leaves_everyone_else_gets_the_own_answer_and_every_place_comes_back(
    leaving: list[tuple[int, int]], max_batch: int
) -> None:
    async def scenario() -> None:
        gate = Gate(open=True)
        batcher = Batcher(gate.run, Device("test"), places=64, max_batch=max_batch)
        tasks = [begin(place, number) for number, place in enumerate(batcher.reserve(64))]
        for moment in range(7):
            for number, when in leaving:
                if when == moment:
                    tasks[number].cancel()
            await asyncio.sleep(0)
        await asyncio.wait(tasks)
        for number, task in enumerate(tasks):
            if task.cancelled():
                assert any(number == left for left, _ in leaving)
            else:
                assert task.result() == number
        await asyncio.sleep(0)
        assert batcher.taken == 0
        assert not batcher.waiting
        assert all(len(batch) <= max_batch for batch in gate.batches)

    asyncio.run(scenario())


async def test_a_batch_is_told_by_its_size() -> None:
    sizes: list[int] = []
    batcher = Batcher(Gate(open=True).run, Device("test"), 4, 4, sizes.append)
    row = await batcher.reserve(1)[0].submit(picture(3))
    assert (row.batch, sizes) == (1, [1])
    assert row.queue_s >= 0
    assert row.infer_s > 0
