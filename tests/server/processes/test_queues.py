"""What a service may expect of a queue, of the one in its process and of the one in the core."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.engine import EngineFailed
from server.errors import Code, ServingError
from server.scheduling.batcher import Batcher
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller, Priority
from server.scheduling.forecast import NOW
from server.scheduling.permit import Permit, Retired
from tests.support.gate import Gate, batcher_of
from tests.support.seam import LIMIT_S, Seam, begin, picture, seam, until

pytestmark = pytest.mark.anyio
KINDS = ["local", "remote"]
Loop = Callable[[], asyncio.AbstractEventLoop]
Open = Callable[[Batcher], AbstractAsyncContextManager[Seam]]


LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
LOOP_NAMES = ["asyncio", "uvloop"]


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Loop]]:
    return "asyncio", {"loop_factory": request.param}


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest) -> Open:
    return partial(seam, request.param)


Admission = asyncio.Task[Sequence[Permit]]


async def refusal(admission: Admission) -> ServingError:
    with pytest.raises(ServingError) as refused:
        await asyncio.wait_for(admission, LIMIT_S)
    return refused.value


def release(*permits: Permit) -> None:
    for permit in permits:
        permit.release()


async def waits(task: Admission, queue: Seam) -> bool:
    await queue.settle()
    return not task.done()


def asking(
    queue: Seam, images: int = 1, caller: Caller | None = None, patient: bool = False, left_s: float = 600
) -> Admission:
    return asyncio.create_task(queue.admit(images, caller, patient, left_s))


async def test_permits_are_granted_all_or_none_and_each_image_gets_its_own_answer(opened: Open) -> None:
    gate = Gate(open=True)
    async with opened(batcher_of(gate.run, permits=8, max_batch=4)) as queue:
        permits = await queue.admit(6)
        refused = await refusal(asking(queue, 3))
        assert refused.code is Code.QUEUE_FULL
        assert refused.detail.startswith("The model has 6 of 8 images in work")
        assert refused.retry_after_s == pytest.approx(0, abs=1e-3)
        assert queue.taken == 6
        assert await asyncio.gather(*(begin(permit, 10 + at) for at, permit in enumerate(permits))) == list(
            range(10, 16)
        )
        assert sorted(number for batch in gate.batches for number in batch) == list(range(10, 16))


async def test_an_answer_tells_its_times_and_its_batch(opened: Open) -> None:
    gate = Gate()
    async with opened(batcher_of(gate.run, permits=8, max_batch=4)) as queue:
        first = begin((await queue.admit())[0], 0)
        await gate.until_entered()
        permits = await queue.admit(2)
        rows = [asyncio.create_task(permit.submit(picture(number))) for number, permit in enumerate(permits, 1)]
        await until(lambda: queue.batcher.queue.waiting() == 2)
        gate.let_through(2)
        await first
        for row in await asyncio.gather(*rows):
            assert row.batch == 2
            assert row.queue_s > 0
            assert row.infer_s > 0
        release(*permits)


async def test_a_request_that_would_be_too_late_is_refused(opened: Open) -> None:
    async with opened(batcher_of(Gate().run, permits=8, max_batch=4)) as queue:
        for patient in (False, True):
            refused = await refusal(asking(queue, left_s=-1, patient=patient))
            assert (refused.code, refused.retry_after_s) == (Code.DEADLINE, None)


async def test_a_permit_given_back_twice_is_a_bug(opened: Open) -> None:
    async with opened(batcher_of(Gate().run, permits=1, max_batch=1)) as queue:
        (permit,) = await queue.admit()
        permit.release()
        with pytest.raises(RuntimeError, match="This is a bug"):
            permit.release()


async def test_images_of_one_caller_are_answered_in_order_and_callers_take_turns(opened: Open) -> None:
    gate = Gate()
    async with opened(batcher_of(gate.run, permits=64, max_batch=4)) as queue:
        tasks = [begin((await queue.admit())[0], 0)]
        await gate.until_entered()
        many = Caller()
        tasks += [begin((await queue.admit(1, many))[0], number) for number in (1, 2, 3)]
        tasks.append(begin((await queue.admit())[0], 100))
        await until(lambda: queue.batcher.queue._bound == 5)
        gate.let_through(9)
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 100]
        assert gate.batches == [[0], [1, 100, 2, 3]]


async def test_one_caller_gets_no_more_than_its_share_however_it_asks(opened: Open) -> None:
    async with opened(batcher_of(Gate().run, permits=9, max_batch=4)) as queue:
        one, other = Caller(), Caller()
        held = [*await queue.admit(1, other), *await queue.admit(3, one), *await queue.admit(1, one)]
        refused = await refusal(asking(queue, 1, one))
        assert refused.code is Code.QUEUE_FULL
        assert "fair share" in refused.detail
        held += await queue.admit(1, other)
        release(*held)


async def test_interactive_images_go_before_bulk_ones_which_have_half_of_the_permits(opened: Open) -> None:
    gate = Gate()
    async with opened(batcher_of(gate.run, permits=8, max_batch=1)) as queue:
        tasks = [begin((await queue.admit())[0], 0), begin((await queue.admit())[0], 1)]
        await until(lambda: queue.batcher.queue._bound == 2)  # one runs, one is laid out
        bulk = Caller(Priority.BULK)
        tasks += [begin(permit, 50 + at) for at, permit in enumerate(await queue.admit(2, bulk))]
        assert (await refusal(asking(queue, 3, Caller(Priority.BULK)))).code is Code.QUEUE_FULL
        tasks.append(begin((await queue.admit())[0], 2))
        await until(lambda: queue.batcher.queue.waiting() == 3)
        gate.let_through(9)
        await asyncio.gather(*tasks)
        assert gate.batches == [[0], [1], [2], [50], [51]]


async def test_an_image_whose_time_has_run_out_fails_unless_its_deadline_is_extended(opened: Open) -> None:
    gate = Gate()
    async with opened(batcher_of(gate.run, permits=8, max_batch=8)) as queue:
        first = begin((await queue.admit())[0], 0)
        await gate.until_entered()
        hopeless, extended = await queue.admit(2)
        late, saved = begin(hopeless, 1), begin(extended, 2)
        await until(lambda: queue.batcher.queue.waiting() == 2)
        queue.expire(hopeless)
        queue.expire(extended)
        extended.deadline.extend(time.monotonic() + 1000)
        extended.deadline.extend(time.monotonic() + 10)  # an earlier one changes nothing
        await queue.settle()
        gate.let_through(9)
        assert (await first, await saved) == (0, 2)
        with pytest.raises(ServingError) as refused:
            await late
        assert (refused.value.code, refused.value.retry_after_s) == (Code.DEADLINE, None)
        assert gate.batches == [[0], [2]]


async def test_a_patient_caller_waits_until_a_permit_comes_back(opened: Open) -> None:
    async with opened(batcher_of(Gate().run, permits=1, max_batch=1)) as queue:
        (held,) = await queue.admit()
        first, second = asking(queue, patient=True), asking(queue, patient=True)
        assert await waits(first, queue)
        held.release()
        (permit,) = await asyncio.wait_for(first, LIMIT_S)
        assert await waits(second, queue)
        assert queue.taken == 1
        permit.release()
        release(*await asyncio.wait_for(second, LIMIT_S))


async def test_a_patient_caller_that_leaves_lets_the_next_one_in(opened: Open) -> None:
    async with opened(batcher_of(Gate().run, permits=1, max_batch=1)) as queue:
        (held,) = await queue.admit()
        leaving, staying = asking(queue, patient=True), asking(queue, patient=True)
        assert await waits(leaving, queue)
        leaving.cancel()
        held.release()
        release(*await asyncio.wait_for(staying, LIMIT_S))
        assert leaving.cancelled()


@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("full", [False, True])
async def test_whoever_leaves_at_any_moment_of_the_admission_costs_no_permit(
    opened: Open, turns: int, patient: bool, full: bool
) -> None:
    async with opened(batcher_of(Gate().run, permits=2, max_batch=1)) as queue:
        held = await queue.admit(2) if full else []
        admission = asking(queue, 1 if patient else 2, patient=patient)
        for _ in range(turns):
            await asyncio.sleep(0)
        admission.cancel()
        await asyncio.wait((admission,))
        release(*held)
        if not admission.cancelled() and not admission.exception():
            release(*admission.result())
        await queue.settle()
        assert queue.taken == 0
        release(*await queue.admit(2))


async def test_a_permit_that_is_not_used_comes_back(opened: Open) -> None:
    async with opened(batcher_of(Gate().run, permits=2, max_batch=1)) as queue:
        permits = await queue.admit(2)
        permits[0].release()
        await queue.settle()
        assert queue.taken == 1
        permits[1].release()


async def test_who_leaves_while_waiting_costs_the_engine_nothing(opened: Open) -> None:
    gate = Gate()
    async with opened(batcher_of(gate.run, permits=8, max_batch=8)) as queue:
        permits = await queue.admit(3)
        running = begin(permits[0], 0)
        await gate.until_entered()
        leaving, staying = begin(permits[1], 1), begin(permits[2], 2)
        await until(lambda: queue.batcher.queue.waiting() == 2)
        leaving.cancel()
        leaving.cancel()
        await asyncio.wait((leaving,))
        await queue.settle()
        assert leaving.cancelled()
        assert queue.taken == 2
        gate.let_through(2)
        assert (await running, await staying) == (0, 2)
        assert gate.batches == [[0], [2]]


async def test_who_leaves_while_in_the_engine_keeps_the_permit_until_the_batch_ends(opened: Open) -> None:
    gate = Gate()
    async with opened(batcher_of(gate.run, permits=1, max_batch=1)) as queue:
        task = begin((await queue.admit())[0], 7)
        await gate.until_entered()
        task.cancel()
        await queue.settle()
        assert (task.done(), queue.taken) == (False, 1)
        assert (await refusal(asking(queue))).code is Code.QUEUE_FULL
        gate.let_through()
        await asyncio.wait((task,))
        assert task.cancelled()


async def test_a_failing_batch_fails_its_callers_and_the_next_one_works(opened: Open) -> None:
    gate, failing = Gate(open=True), True

    def run(pixels: Pixels) -> Probabilities:
        if failing:
            raise EngineFailed("out of memory")
        return gate.run(pixels)

    async with opened(batcher_of(run, permits=4, max_batch=4)) as queue:
        with pytest.raises(ServingError) as failed:
            await begin((await queue.admit())[0], 1)
        assert failed.value.code is Code.ENGINE_FAILED
        assert failed.value.detail == "The engine failed on this batch: try again."
        failing = False
        assert await begin((await queue.admit())[0], 2) == 2


async def test_an_engine_that_hangs_fails_all_that_it_has_and_takes_nothing_more(opened: Open) -> None:
    gate, device = Gate(), Device("test")
    async with opened(batcher_of(gate.run, 8, 1, device)) as queue:
        tasks = [begin((await queue.admit())[0], number) for number in range(4)]
        (late,) = await queue.admit()
        await until(lambda: queue.batcher.queue.waiting() == 2)  # one runs, one is bound behind it
        device.give_up(ServingError(Code.ENGINE_FAILED, "hangs"))
        for task in tasks:
            with pytest.raises(ServingError, match="hangs"):
                await asyncio.wait_for(task, LIMIT_S)
        with pytest.raises(ServingError, match="does not answer any more"):
            await asyncio.wait_for(begin(late, 9), LIMIT_S)
        for patient in (False, True):
            assert (await refusal(asking(queue, patient=patient))).code is Code.ENGINE_FAILED
        await queue.settle()
        assert queue.taken == 0
        gate.let_through(9)  # the thread comes back after all: nobody minds


async def test_a_version_that_is_replaced_answers_what_it_has_and_sends_away_what_comes(opened: Open) -> None:
    gate = Gate()
    async with opened(batcher_of(gate.run, permits=3, max_batch=1)) as queue:
        running, unused, waiting = await queue.admit(3)
        first, second = begin(running, 1), begin(waiting, 2)
        patient = asking(queue, patient=True)
        assert await waits(patient, queue)
        old = queue.replace(batcher_of(gate.run, permits=3, max_batch=1))
        with pytest.raises(Retired):
            await asyncio.wait_for(patient, LIMIT_S)
        for wait in (False, True):
            with pytest.raises(Retired):
                await asyncio.wait_for(old.admit(1, Caller(), time.monotonic() + 60, NOW, wait), LIMIT_S)
        third = begin((await queue.admit())[0], 3)
        assert not queue.retiring[0].done()
        gate.let_through(9)
        tasks = [first, second, third, begin(unused, 4)]
        assert await asyncio.gather(*tasks) == [1, 2, 3, 4]


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "bulk", "patient", "leave", "leave", "batch", "fault", "replace", "settle"]),
        st.integers(0, 7),
    ),
    max_size=40,
)


class Walk:
    """Callers that come and go while versions are replaced and batches fail."""

    def __init__(self, queue: Seam, permits: int) -> None:
        self.queue = queue
        self.permits = permits
        self.faults = 0
        self.held = 0
        self.callers: list[asyncio.Task[float]] = []
        self.left: set[asyncio.Task[float]] = set()
        self._kinds = [Caller(), Caller(), Caller(Priority.BULK)]

    async def ask(self, images: int, caller: Caller, patient: bool, number: int) -> float:
        while True:
            try:
                permits = await self.queue.admit(images, caller, patient)
                break
            except Retired:
                continue
        self.held += len(permits)
        tasks = [begin(permit, number) for permit in permits]
        for task in tasks:
            task.add_done_callback(lambda _: self._released())
        try:
            return (await asyncio.gather(*tasks))[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _released(self) -> None:
        self.held -= 1

    def come(self, images: int, caller: Caller, patient: bool = False) -> None:
        number = len(self.callers) % 256
        self.callers.append(asyncio.create_task(self.ask(images, caller, patient, number)))

    def judge(self) -> None:
        for number, caller in enumerate(self.callers):
            if caller.cancelled():
                assert caller in self.left
            elif error := caller.exception():
                assert isinstance(error, ServingError)
                assert error.code is Code.QUEUE_FULL or (error.code is Code.ENGINE_FAILED and self.faults)
            else:
                assert caller.result() == number % 256


@pytest.mark.parametrize("loop", LOOPS, ids=LOOP_NAMES)
@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS, permits=st.integers(1, 9), max_batch=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_no_permit_is_lost_or_made(
    loop: Loop, kind: str, steps: list[Step], permits: int, max_batch: int
) -> None:
    async def scenario() -> None:
        gate = Gate()
        broken: list[bool] = []  # of each batch that is let through

        def run(pixels: Pixels) -> Probabilities:
            rows = gate.run(pixels)
            if broken and broken.pop():
                raise EngineFailed("broke")
            return rows

        device = Device("test")
        async with seam(kind, batcher_of(run, permits, max_batch, device)) as queue:
            walk = Walk(queue, permits)
            for step, number in steps:
                match step:
                    case "ask":
                        walk.come(1 + number % 3, walk._kinds[number % 2])
                    case "patient":  # streams ask for one image at a time
                        walk.come(1, walk._kinds[number % 2], patient=True)
                    case "bulk":
                        walk.come(1, walk._kinds[2])
                    case "leave" if walk.callers:
                        leaver = random.Random(number).choice(walk.callers)
                        if not leaver.done() and leaver not in walk.left:  # it waits for its tasks only once
                            walk.left.add(leaver)
                            leaver.cancel()
                    case "batch" | "fault":
                        broken.append(step == "fault")
                        walk.faults += step == "fault"
                        gate.let_through()
                        await asyncio.sleep(0)
                    case "replace":
                        queue.replace(batcher_of(run, permits, max_batch, device))
                    case "settle":
                        await queue.settle()
                        assert 0 <= queue.batcher.admission.taken <= permits
            gate.let_through(1000)
            if walk.callers:
                _, hanging = await asyncio.wait(walk.callers, timeout=LIMIT_S)
                assert not hanging
            walk.judge()
            assert walk.held == 0

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())
