"""Decode threads: whose photo is next, what a large one may hold up, and what becomes of one that never ends."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from server.errors import Code, ServingError
from server.scheduling.fair_queue import Caller, Priority
from server.scheduling.threads import Threads

pytestmark = pytest.mark.anyio


class Desk:
    """Jobs that are noted when they begin, and end when told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._may_end: dict[str, threading.Event] = {}
        self._changed = threading.Condition()

    def job(self, name: str) -> str:
        with self._changed:
            self.begun.append(name)
            self._changed.notify_all()
        self.event(name).wait(60)
        return name

    def event(self, name: str) -> threading.Event:
        with self._changed:
            return self._may_end.setdefault(name, threading.Event())

    async def until_begun(self, *names: str) -> None:
        def wait() -> None:
            with self._changed:
                assert self._changed.wait_for(lambda: set(names) <= set(self.begun), 60)

        await asyncio.to_thread(wait)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    for name in desk.begun:
        desk.event(name).set()


def begin(
    threads: Threads, desk: Desk, name: str, caller: Caller | None = None, work: float = 1
) -> "asyncio.Task[str]":
    return asyncio.create_task(threads.run(desk.job, name, caller=caller, work=work))


async def begun_in_order(threads: Threads, desk: Desk, jobs: list[tuple[str, Caller, float]]) -> list[str]:
    """The order in which one thread takes jobs that came while it was busy."""
    first = begin(threads, desk, "first")
    await desk.until_begun("first")
    tasks = [begin(threads, desk, *job) for job in jobs]
    await asyncio.sleep(0)
    for name, _, _ in (("first", None, 0), *jobs):
        desk.event(name).set()
    await asyncio.gather(first, *tasks)
    return desk.begun[1:]


async def test_callers_take_turns_and_bulk_comes_last(desk: Desk) -> None:
    a, b, bulk = Caller(), Caller(), Caller(Priority.BULK)
    jobs = [("bulk", bulk, 1.0), ("a1", a, 1.0), ("a2", a, 1.0), ("a3", a, 1.0), ("b1", b, 1.0)]
    assert await begun_in_order(Threads(1, "t"), desk, jobs) == ["a1", "b1", "a2", "a3", "bulk"]


async def test_turns_are_weighed_so_that_large_photos_wait_for_as_many_small_ones(desk: Desk) -> None:
    large, small = Caller(), Caller()
    jobs = [("L1", large, 3.0), ("L2", large, 3.0), *((f"s{number}", small, 1.0) for number in range(1, 7))]
    order = await begun_in_order(Threads(1, "t"), desk, jobs)
    assert order == ["s1", "s2", "L1", "s3", "s4", "s5", "L2", "s6"]


async def test_a_large_photo_that_waits_is_not_passed_over_for_ever(desk: Desk) -> None:
    jobs = [("large", Caller(), 3.0), *((f"s{number}", Caller(), 1.0) for number in range(20))]
    assert (await begun_in_order(Threads(1, "t"), desk, jobs)).index("large") == 20  # all came in the same moment
    one = Caller()
    later = [("large2", Caller(), 3.0), *((f"t{number}", one, 1.0) for number in range(20))]
    assert (await begun_in_order(Threads(1, "u"), Desk(), later)).index("large2") == 2


async def test_large_photos_never_have_all_threads(desk: Desk) -> None:
    threads = Threads(3, "t", large=10)
    tasks = [begin(threads, desk, f"large{number}", work=11) for number in range(4)]
    await desk.until_begun("large0", "large1")
    for number in range(3):
        name = f"small{number}"
        small = begin(threads, desk, name)
        await desk.until_begun(name)
        desk.event(name).set()
        assert await small == name
    assert [name for name in desk.begun if name.startswith("large")] == ["large0", "large1"]
    for number in range(4):
        desk.event(f"large{number}").set()
    await asyncio.gather(*tasks)


async def test_one_thread_takes_large_photos_too(desk: Desk) -> None:
    desk.event("large").set()
    assert await begin(Threads(1, "t", large=10), desk, "large", work=11) == "large"


async def test_a_job_that_takes_too_long_is_given_up_and_its_thread_replaced(desk: Desk) -> None:
    threads = Threads(2, "t")
    stuck = begin(threads, desk, "stuck")
    await desk.until_begun("stuck")
    too_long = ServingError(Code.DECODE_LIMIT, "too long")
    assert not threads.give_up(3600, too_long)
    assert len(threads.give_up(-1, too_long)) == 1
    with pytest.raises(ServingError, match="too long"):
        await stuck
    assert threads.lost == 1
    for name in ("a", "b"):
        desk.event(name).set()
    both = [begin(threads, desk, name) for name in ("a", "b")]
    assert await asyncio.gather(*both) == ["a", "b"]
    desk.event("stuck").set()  # it was slow, not lost
    while threads.lost:
        await asyncio.sleep(0)
    desk.event("c").set()
    assert await begin(threads, desk, "c") == "c"


async def test_what_waits_is_predicted_by_whose_turn_it_is(desk: Desk) -> None:
    threads = Threads(1, "t")
    bulk, many, new = Caller(Priority.BULK), Caller(), Caller()
    tasks = [begin(threads, desk, "running", work=2)]
    await desk.until_begun("running")
    tasks += [begin(threads, desk, f"bulk{number}", bulk, 50) for number in range(3)]
    tasks += [begin(threads, desk, f"many{number}", many) for number in range(9)]
    await asyncio.sleep(0)
    assert threads.done_in(1, new) == 2 + 1 + 1
    assert threads.done_in(4, new) == 2 + 4 + 4
    assert threads.done_in(1, many) == 2 + 9 + 1
    assert threads.done_in(1, Caller(Priority.BULK)) == 2 + 9 + 1 + 1
    assert threads.left() == 2 + 150 + 9
    for task in tasks[1:]:
        task.cancel()
    await asyncio.wait(tasks[1:])  # before the thread is free: what it began by then would wait for its own event
    desk.event("running").set()
    await tasks[0]


async def test_a_small_photo_is_not_predicted_to_wait_for_a_large_one_on_another_thread(desk: Desk) -> None:
    threads = Threads(2, "t", large=10)
    large = begin(threads, desk, "large", work=100)
    await desk.until_begun("large")
    assert threads.done_in(1, Caller()) == 1
    assert threads.done_in(50, Caller()) == 150
    desk.event("large").set()
    await large
