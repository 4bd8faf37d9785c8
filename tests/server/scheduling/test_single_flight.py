"""Equal images at the same time are computed once, and nobody's leaving is felt by others."""

import asyncio

import numpy as np
import pytest

from server.errors import Code, ServingError
from server.scheduling.batch import Row
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Priority
from server.scheduling.single_flight import Computed, SingleFlight

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


async def joined(
    flights: SingleFlight,
    work: Work,
    count: int,
    deadline: Deadline | None = None,
    priority: Priority = Priority.INTERACTIVE,
) -> list["asyncio.Task[Computed]"]:
    joining = [
        asyncio.create_task(flights.join(b"digest", priority, deadline or Deadline(9), work.compute))
        for _ in range(count)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return joining


async def test_all_get_the_one_result() -> None:
    flights, work = SingleFlight(), Work()
    tasks = await joined(flights, work, 3)
    work.end()
    assert len({id(computed) for computed in await asyncio.gather(*tasks)}) == 1
    assert work.begun == 1
    await joined(flights, again := Work(), 1)
    assert again.begun == 1  # nothing is remembered unless wished


async def test_the_first_ones_leaving_cancels_nobody() -> None:
    work = Work()
    leader, follower = await joined(SingleFlight(), work, 2)
    leader.cancel()
    await asyncio.wait((leader,))
    work.end()
    assert (await follower).row.batch == 4
    assert (work.begun, work.cancelled) == (1, 0)


async def test_the_last_ones_leaving_cancels_the_work_and_newcomers_begin_anew() -> None:
    flights, work = SingleFlight(), Work()
    tasks = await joined(flights, work, 2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (work.begun, work.cancelled) == (1, 1)
    (task,) = await joined(flights, fresh := Work(), 1)
    fresh.end()
    assert (await task).decode_s == 0.3


async def test_a_fault_is_everybodys() -> None:
    work = Work()
    tasks = await joined(SingleFlight(remembered=4), work, 2)
    work.result.set_exception(ServingError(Code.ENGINE_FAILED, "no"))
    for task in tasks:
        with pytest.raises(ServingError):
            await task


async def test_the_work_may_take_as_long_as_the_most_patient_allows() -> None:
    flights, work, deadline = SingleFlight(), Work(), Deadline(5)
    tasks = await joined(flights, work, 1, deadline)
    tasks += await joined(flights, work, 1, Deadline(8))
    tasks += await joined(flights, work, 1, Deadline(2))
    assert deadline.at_s == 8
    work.end()
    await asyncio.gather(*tasks)


async def test_the_last_used_results_are_remembered_and_no_more() -> None:
    flights = SingleFlight(remembered=2)
    for digest in (b"a", b"b", b"a", b"c"):
        if flights.recall(digest) is None:
            work = Work()
            work.end(digest[0])
            await flights.join(digest, Priority.INTERACTIVE, Deadline(9), work.compute)
            await asyncio.sleep(0)
    assert flights.recall(b"b") is None
    remembered = flights.recall(b"a")
    assert remembered is not None
    assert (remembered.row.probabilities[0], remembered.row.batch, remembered.decode_s) == (ord("a"), 0, 0)
    assert remembered.row.probabilities.base is None  # a copy: not a view that keeps its whole batch


async def test_an_interactive_image_does_not_wait_with_an_equal_bulk_one_but_bulk_joins_it() -> None:
    flights, slow, quick = SingleFlight(), Work(), Work()
    (bulk,) = await joined(flights, slow, 1, priority=Priority.BULK)
    (interactive,) = await joined(flights, quick, 1)
    (late,) = await joined(flights, slow, 1, priority=Priority.BULK)
    quick.end(7)
    assert (await interactive).row.probabilities[0] == (await late).row.probabilities[0] == 7
    assert (slow.begun, quick.begun, bulk.done()) == (1, 1, False)
    slow.end()
    await bulk
