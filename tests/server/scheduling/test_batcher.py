"""The batcher: no timer, late binding, true permits, and callers who leave."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.engine import EngineFailed
from server.engines.per_core import PerCoreEngine, Run
from server.errors import Code, ServingError
from server.scheduling.admission import Admission
from server.scheduling.batch import Batch
from server.scheduling.batcher import Batcher
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller
from server.scheduling.latency import LatencyModel
from tests.support.gate import Gate, batcher_of, begin, lazily, picture, reserve

pytestmark = pytest.mark.anyio


async def test_an_idle_device_takes_an_image_at_once_and_a_busy_one_all_that_wait() -> None:
    gate = Gate()
    batcher = batcher_of(gate.run, permits=16, max_batch=4)
    permits = reserve(batcher, 8)
    first = begin(permits[0], 0)
    await gate.until_entered()
    later = [begin(permit, number) for number, permit in enumerate(permits[1:], start=1)]
    while batcher.queue.waiting() < 7:
        await asyncio.sleep(0)
    gate.let_through(3)
    assert await asyncio.gather(first, *later) == list(range(8))
    assert gate.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


async def test_permits_are_bounded_and_all_or_none() -> None:
    batcher = batcher_of(Gate().run, permits=4, max_batch=4)
    permits = reserve(batcher, 3)
    with pytest.raises(ServingError) as refused:
        reserve(batcher, 2)
    assert refused.value.code is Code.QUEUE_FULL
    assert refused.value.retry_after_s == pytest.approx(0, abs=1e-3)
    assert batcher.admission.taken == 3
    for permit in permits:
        permit.release()
    assert len(reserve(batcher, 4)) == 4


async def test_a_permit_given_back_twice_is_a_bug() -> None:
    (permit,) = reserve(batcher_of(Gate().run, permits=1, max_batch=1), 1)
    permit.release()
    with pytest.raises(RuntimeError, match="This is a bug"):
        permit.release()


async def test_who_leaves_while_waiting_costs_the_engine_nothing() -> None:
    gate = Gate()
    batcher = batcher_of(gate.run, permits=8, max_batch=8)
    permits = reserve(batcher, 3)
    running = begin(permits[0], 0)
    await gate.until_entered()
    leaving, staying = begin(permits[1], 1), begin(permits[2], 2)
    while batcher.queue.waiting() < 2:
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait((leaving,))
    assert batcher.admission.taken == 2
    gate.let_through(2)
    assert (await running, await staying) == (0, 2)
    assert gate.batches == [[0], [2]]


async def test_who_leaves_while_in_the_engine_keeps_the_permit_until_the_batch_ends() -> None:
    gate = Gate()
    batcher = batcher_of(gate.run, permits=1, max_batch=1)
    task = begin(reserve(batcher, 1)[0], 7)
    await gate.until_entered()
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert (task.done(), batcher.admission.taken) == (False, 1)
    gate.let_through()
    await asyncio.wait((task,))
    assert (task.cancelled(), batcher.admission.taken) == (True, 0)


def _raises(pixels: Pixels) -> Probabilities:
    raise EngineFailed("out of memory")


def _breaks(pixels: Pixels) -> Probabilities:
    raise MemoryError


@pytest.mark.parametrize("run", [_raises, _breaks])
async def test_a_failing_batch_fails_its_callers_and_the_next_one_works(run: Callable[[Pixels], Probabilities]) -> None:
    healthy = Gate(open=True)
    failing = True
    batcher = batcher_of(lambda pixels: (run if failing else healthy.run)(pixels), permits=4, max_batch=4)
    with pytest.raises(ServingError) as failed:
        await begin(reserve(batcher, 1)[0], 1)
    assert failed.value.code is Code.ENGINE_FAILED
    assert "memory" not in failed.value.detail
    failing = False
    assert await begin(reserve(batcher, 1)[0], 2) == 2
    assert batcher.admission.taken == 0


async def test_several_batchers_share_a_device_and_the_longest_waiting_goes_first() -> None:
    gate, device = Gate(), Device("test")
    one, two = (batcher_of(gate.run, 8, 8, device) for _ in range(2))
    tasks = [begin(reserve(one, 1)[0], 0)]
    await gate.until_entered()
    for batcher, number in ((two, 10), (one, 1), (two, 11)):
        tasks.append(begin(reserve(batcher, 1)[0], number))
        await asyncio.sleep(0)
    while one.queue.waiting() + two.queue.waiting() < 3:
        await asyncio.sleep(0)
    gate.let_through(3)
    assert await asyncio.gather(*tasks) == [0, 10, 1, 11]
    assert gate.batches == [[0], [10, 11], [1]]


async def test_an_engine_that_can_begins_with_the_next_full_batch_while_it_has_one() -> None:
    begun: list[list[int]] = []
    through = threading.Semaphore(0)

    def start(pixels: Pixels) -> Callable[[], Probabilities]:
        begun.append(pixels[:, 0, 0, 0].tolist())

        def rows() -> Probabilities:
            assert through.acquire(timeout=20)
            if pixels[0, 0, 0, 0] == 3:
                raise OSError("it broke on the way")
            return pixels[:, 0, 0, :1].astype(np.float32)

        return rows

    batcher = batcher_of(_raises, permits=8, max_batch=2, start=start)
    first, *permits = reserve(batcher, 5)
    tasks = [begin(first, 0)]
    while not begun:
        await asyncio.sleep(0)
    tasks += [begin(permit, number) for number, permit in enumerate(permits, 1)]
    while len(begun) < 2:
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert begun == [[0], [1, 2]]  # no third one: it is bound as late as can be
    through.release(3)
    assert await asyncio.gather(*tasks[:3]) == [0, 1, 2]
    for failed in await asyncio.gather(*tasks[3:], return_exceptions=True):
        assert isinstance(failed, ServingError)


async def test_an_engine_that_cannot_begin_fails_its_batch_alone() -> None:
    starts = iter([True, True, False])

    def start(pixels: Pixels) -> Callable[[], Probabilities]:
        if next(starts):  # at the first attempt, and at the second
            raise MemoryError
        return lambda: pixels[:, 0, 0, :1].astype(np.float32)

    batcher = batcher_of(_raises, permits=4, max_batch=4, start=start)
    with pytest.raises(ServingError) as failed:
        await begin(reserve(batcher, 1)[0], 1)
    assert failed.value.code is Code.ENGINE_FAILED
    assert await begin(reserve(batcher, 1)[0], 2) == 2


@given(
    leaving=st.lists(st.tuples(st.integers(0, 63), st.integers(0, 6)), max_size=60),
    max_batch=st.integers(1, 16),
    ahead=st.booleans(),
    lanes=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_whoever_leaves_everyone_else_gets_the_own_answer_and_every_permit_comes_back(
    leaving: list[tuple[int, int]], max_batch: int, ahead: bool, lanes: int
) -> None:
    async def scenario() -> None:
        gate = Gate(open=True)
        start = PerCoreEngine(2, gate.run, gate.run).start if ahead else None
        batcher = batcher_of(gate.run, permits=64, max_batch=max_batch, device=Device("test", lanes), start=start)
        tasks = [begin(permit, number) for number, permit in enumerate(reserve(batcher, 64))]
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
        assert batcher.admission.taken == 0
        assert not batcher.queue.waiting()
        assert all(len(batch) <= max_batch for batch in gate.batches)

    asyncio.run(scenario())


async def test_a_batch_is_told_by_its_size() -> None:
    sizes: list[int] = []
    batcher = batcher_of(Gate(open=True).run, 4, 4, observe=lambda batch: sizes.append(len(batch.items)))
    row = await reserve(batcher, 1)[0].submit(picture(3))
    assert (row.batch, sizes) == (1, [1])
    assert row.queue_s >= 0
    assert row.infer_s > 0


def paced(run: Run, seconds: dict[int, float], observe: Callable[[Batch], None] = lambda batch: None) -> Batcher:
    return Batcher(
        [lazily(run)], Device("test"), LatencyModel(seconds), max(seconds), Admission(64, max_wait_s=99), observe
    )


async def test_a_caller_with_many_images_shares_batches_with_one_who_has_one() -> None:
    gate = Gate()
    batcher = batcher_of(gate.run, permits=64, max_batch=4)
    tasks = [begin(reserve(batcher, 1)[0], 0)]
    await gate.until_entered()
    tasks += [begin(permit, number) for number, permit in enumerate(reserve(batcher, 3), start=1)]
    tasks += [begin(reserve(batcher, 1)[0], 100)]
    while batcher.queue.waiting() < 3:
        await asyncio.sleep(0)
    gate.let_through(9)
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 100]
    assert gate.batches[1] == [1, 100, 2, 3]


async def test_a_full_batch_is_laid_out_while_the_one_before_it_runs_and_a_smaller_one_is_bound_late() -> None:
    gate = Gate()
    batcher = batcher_of(gate.run, permits=64, max_batch=2)
    tasks = [begin(reserve(batcher, 1)[0], 0)]
    await gate.until_entered()
    tasks += [begin(reserve(batcher, 1)[0], number) for number in (1, 2, 3)]
    while batcher.queue.waiting() != 1:  # two are bound, though the engine is busy; the third waits for who may come
        await asyncio.sleep(0)
    tasks.append(begin(reserve(batcher, 1)[0], 4))
    while batcher.queue.waiting() != 2:
        await asyncio.sleep(0)
    gate.let_through(9)
    await asyncio.gather(*tasks)
    assert gate.batches == [[0], [1, 2], [3, 4]]


async def test_a_batch_that_has_begun_goes_through_though_its_callers_leave_and_gives_their_permits_back() -> None:
    gate = Gate()
    begun: list[int] = []

    def start(pixels: Pixels) -> Callable[[], Probabilities]:
        begun.append(len(pixels))
        return partial(gate.run, pixels)

    batcher = batcher_of(gate.run, permits=64, max_batch=2, start=start)
    first = begin(reserve(batcher, 1)[0], 0)
    await gate.until_entered()
    one, two = (begin(reserve(batcher, 1)[0], number) for number in (1, 2))
    while len(begun) < 2:
        await asyncio.sleep(0)
    one.cancel()
    two.cancel()
    await asyncio.sleep(0)
    assert batcher.admission.taken == 3  # the engine has, or will have, the work
    gate.let_through(9)
    await asyncio.wait((first, one, two))
    await asyncio.wait_for(batcher.admission.idle(), 9)
    assert gate.batches == [[0], [1, 2]]


async def test_an_image_whose_time_has_run_out_costs_the_engine_nothing() -> None:
    gate = Gate()
    batcher = paced(gate.run, {1: 0.2, 2: 0.3, 3: 0.4})
    first = begin(reserve(batcher, 1)[0], 0)
    await gate.until_entered()
    soon, later = (batcher.reserve(1, Caller(), time.monotonic() + 60)[0] for _ in range(2))
    hopeless, patient = begin(soon, 1), begin(later, 2)
    while batcher.queue.waiting() < 2:
        await asyncio.sleep(0)
    soon.deadline.at_s = time.monotonic() + 0.05
    gate.let_through(9)
    assert (await first, await patient) == (0, 2)
    with pytest.raises(ServingError) as refused:
        await hopeless
    assert refused.value.code is Code.DEADLINE
    assert gate.batches == [[0], [2]]


async def test_a_batch_is_no_larger_than_its_most_urgent_image_has_time_for() -> None:
    gate, reasons = Gate(), []
    batcher = paced(gate.run, {1: 0.1, 2: 10, 4: 40}, lambda batch: reasons.append(batch.reason.value))
    tasks = [begin(reserve(batcher, 1)[0], 0)]
    await gate.until_entered()
    permits = [batcher.reserve(1, Caller(), time.monotonic() + 1000)[0] for _ in range(3)]
    tasks += [begin(permit, number) for number, permit in enumerate(permits, start=1)]
    while batcher.queue.waiting() < 3:
        await asyncio.sleep(0)
    permits[1].deadline.at_s = time.monotonic() + 5
    gate.let_through(9)
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
    assert gate.batches == [[0], [2], [1, 3]]
    assert reasons == ["idle", "deadline", "engine_free"]


async def test_a_failing_engine_makes_its_batcher_sick_until_it_answers_again() -> None:
    healthy, failing = Gate(open=True), True
    batcher = batcher_of(lambda pixels: (_raises if failing else healthy.run)(pixels), permits=4, max_batch=4)
    for _ in range(3):
        assert not batcher.sick
        with pytest.raises(ServingError):
            await begin(reserve(batcher, 1)[0], 1)
    assert batcher.sick
    failing = False
    await begin(reserve(batcher, 1)[0], 1)
    assert not batcher.sick


async def test_a_device_given_up_fails_all_that_it_has_and_takes_nothing_more() -> None:
    gate, device = Gate(), Device("test")
    batcher = batcher_of(gate.run, 8, 1, device)
    tasks = [begin(reserve(batcher, 1)[0], number) for number in range(4)]
    late = reserve(batcher, 1)[0]
    await gate.until_entered()
    while batcher.queue.waiting() < 2:  # one runs, one is bound behind it
        await asyncio.sleep(0)
    device.give_up(ServingError(Code.ENGINE_FAILED, "hangs"))
    for task in (*tasks, begin(late, 9)):
        with pytest.raises(ServingError):
            await asyncio.wait_for(task, 9)
    with pytest.raises(ServingError):
        reserve(batcher, 1)
    await asyncio.wait_for(batcher.admission.idle(), 9)
    gate.let_through(9)  # the thread comes back after all: nobody minds
