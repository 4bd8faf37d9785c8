"""Equal images at the same time are computed once, and nobody's leaving is felt by others."""

import asyncio

import numpy as np
import pytest

from bundle.images import Picture
from server.errors import Code, ServingError
from server.scheduling.batch import Row
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Caller, Priority
from server.scheduling.single_flight import Computed, SingleFlight, Waiter
from server.trace import Trace

pytestmark = pytest.mark.anyio


class Work:
    """A computation that ends when told; how often it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.result: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()

    async def compute(self) -> Computed:
        self.begun += 1
        try:
            return await asyncio.shield(self.result)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def end(self, value: float = 1) -> None:
        self.result.set_result(Computed(Row(np.full(3, value, np.float32), 0.1, 0.2, 4), 0.3))


class Held:
    """A permit that tells whether it was given back."""

    def __init__(self, priority: Priority = Priority.INTERACTIVE, until_s: float = 9) -> None:
        self.caller = Caller(priority)
        self.deadline = Deadline(until_s)
        self.held = True

    async def submit(self, picture: Picture, trace: Trace | None = None) -> Row:
        raise NotImplementedError

    def release(self) -> None:
        assert self.held
        self.held = False


async def joined(flights: SingleFlight, work: Work, *permits: Held) -> list[Waiter]:
    joining = [flights.join(b"digest", permit, work.compute) for permit in permits]
    await asyncio.sleep(0)
    return joining


async def outcome(waiter: Waiter) -> Computed:
    found = await waiter
    assert isinstance(found, Computed)
    return found


async def test_all_get_the_one_result() -> None:
    flights, work, permits = SingleFlight(), Work(), [Held(), Held(), Held()]
    waiters = await joined(flights, work, *permits)
    assert all(permit.held for permit in permits)
    work.end()
    assert len({id(await waiter) for waiter in waiters}) == 1
    assert work.begun == 1
    assert not any(permit.held for permit in permits)
    await joined(flights, again := Work(), Held())
    assert again.begun == 1  # nothing is remembered unless wished


async def test_the_first_ones_leaving_cancels_nobody_and_its_permit_is_used_on() -> None:
    work, first, second = Work(), Held(), Held()
    leader, follower = await joined(SingleFlight(), work, first, second)
    assert leader.cancel()
    assert leader.cancelled()
    assert first.held
    work.end()
    assert (await outcome(follower)).row.batch == 4
    assert (work.begun, work.cancelled) == (1, 0)
    assert (first.held, second.held) == (False, False)


async def test_a_follower_that_leaves_gives_its_permit_back_at_once() -> None:
    work, second = Work(), Held()
    leader, follower = await joined(SingleFlight(), work, Held(), second)
    follower.cancel()
    assert not second.held
    work.end()
    await leader


async def test_the_last_ones_leaving_cancels_the_work_and_newcomers_begin_anew() -> None:
    flights, work, permits = SingleFlight(), Work(), [Held(), Held()]
    for waiter in await joined(flights, work, *permits):
        waiter.cancel()
    assert permits[0].held  # the work has not ended yet
    (waiter,) = await joined(flights, fresh := Work(), Held())
    assert (work.begun, work.cancelled) == (1, 1)
    await asyncio.sleep(0)
    assert not any(permit.held for permit in permits)
    fresh.end()
    assert (await outcome(waiter)).decode_s == 0.3


async def test_a_fault_is_everybodys() -> None:
    work = Work()
    waiters = await joined(SingleFlight(remembered=4), work, Held(), Held())
    work.result.set_exception(ServingError(Code.ENGINE_FAILED, "no"))
    for waiter in waiters:
        assert isinstance(await waiter, ServingError)


async def test_a_bug_is_raised_and_the_permits_are_given_back() -> None:
    work, permits = Work(), [Held(), Held()]
    waiters = await joined(SingleFlight(remembered=4), work, *permits)
    work.result.set_exception(ZeroDivisionError())
    for waiter in waiters:
        with pytest.raises(ZeroDivisionError):
            await waiter
    assert not any(permit.held for permit in permits)


async def test_the_work_may_take_as_long_as_the_most_patient_allows() -> None:
    flights, work, first = SingleFlight(), Work(), Held(until_s=5)
    waiters = await joined(flights, work, first, Held(until_s=8), Held(until_s=2))
    assert first.deadline.at_s == 8
    work.end()
    await asyncio.gather(*waiters)


async def test_the_last_used_results_are_remembered_and_no_more() -> None:
    flights, begun = SingleFlight(remembered=2), 0

    async def ask(digest: bytes) -> Computed:
        nonlocal begun
        work, permit = Work(), Held()
        work.end(digest[0])
        found = await outcome(flights.join(digest, permit, work.compute))
        assert not permit.held
        begun += work.begun
        return found

    for digest in (b"a", b"b", b"a", b"c"):
        await ask(digest)
    assert begun == 3
    remembered = await ask(b"a")
    assert begun == 3
    assert (remembered.row.probabilities[0], remembered.row.batch, remembered.decode_s) == (ord("a"), 0, 0)
    assert remembered.row.probabilities.base is None  # a copy: not a view that keeps its whole batch
    await ask(b"b")
    assert begun == 4


async def test_an_interactive_image_does_not_wait_with_an_equal_bulk_one_but_bulk_joins_it() -> None:
    flights, slow, quick = SingleFlight(), Work(), Work()
    (bulk,) = await joined(flights, slow, Held(Priority.BULK))
    (interactive,) = await joined(flights, quick, Held())
    (late,) = await joined(flights, slow, Held(Priority.BULK))
    quick.end(7)
    assert (await outcome(interactive)).row.probabilities[0] == (await outcome(late)).row.probabilities[0] == 7
    assert (slow.begun, quick.begun, bulk.done()) == (1, 1, False)
    slow.end()
    await bulk
