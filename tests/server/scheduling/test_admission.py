"""Who is admitted, who is refused at once, and whether what the refused are told is true."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import Code, ServingError
from server.scheduling.admission import Admission, fair_share
from server.scheduling.fair_queue import Caller, Priority

pytestmark = pytest.mark.anyio
LATE_S = 1e9


def at_speed(admission: Admission, seconds_each: float, caller: Caller) -> Callable[[int], float]:
    """An engine that takes so long for each image, one after another."""
    return lambda images: (admission.ahead(images, caller) + images) * seconds_each


def take(
    admission: Admission,
    images: int,
    caller: Caller | None = None,
    seconds_each: float = 0.0,
    deadline_s: float = LATE_S,
) -> Caller:
    caller = caller or Caller()
    admission.take(images, caller, deadline_s, at_speed(admission, seconds_each, caller))
    return caller


def refusal(admission: Admission, images: int, **options: Any) -> ServingError:
    with pytest.raises(ServingError) as refused:
        take(admission, images, **options)
    return refused.value


async def test_permits_are_counted_in_images_all_or_none() -> None:
    admission = Admission(permits=4, max_wait_s=9)
    take(admission, 3)
    assert refusal(admission, 2).code is Code.QUEUE_FULL
    assert admission.taken == 3
    take(admission, 1)


async def test_who_would_wait_too_long_is_told_when_to_come_back_and_that_is_true() -> None:
    admission = Admission(permits=1000, max_wait_s=1.2)
    callers = [take(admission, 1, seconds_each=0.1) for _ in range(10)]
    refused = refusal(admission, 1, seconds_each=0.1)
    assert refused.code is Code.QUEUE_FULL
    assert refused.retry_after_s is not None
    assert refused.retry_after_s == pytest.approx(0.1)
    for caller in callers[: round(refused.retry_after_s / 0.1)]:  # so many are answered in that time
        admission.give_back(caller)
    take(admission, 1, seconds_each=0.1)


async def test_a_full_queue_tells_how_long_until_enough_are_free() -> None:
    admission = Admission(permits=4, max_wait_s=9)
    take(admission, 4, seconds_each=0.1)
    assert refusal(admission, 2, seconds_each=0.1).retry_after_s == pytest.approx(0.4)


async def test_a_deadline_that_cannot_be_met_is_refused_before_any_work() -> None:
    admission = Admission(permits=1000, max_wait_s=99)
    take(admission, 10, seconds_each=0.1)
    soon = {"seconds_each": 0.1, "deadline_s": time.monotonic() + 0.15}
    assert refusal(admission, 1, **soon).code is Code.DEADLINE
    take(admission, 1, seconds_each=0.1, deadline_s=time.monotonic() + 0.5)


async def test_an_idle_queue_takes_whatever_is_not_hopeless() -> None:
    admission = Admission(permits=9, max_wait_s=0.1)
    now_s = time.monotonic()
    assert refusal(admission, 1, seconds_each=10, deadline_s=now_s + 4).code is Code.DEADLINE
    take(admission, 1, seconds_each=10, deadline_s=now_s + 6)  # a prediction may be twice too long


async def test_a_small_request_is_not_refused_for_a_large_one_before_it() -> None:
    admission = Admission(permits=1000, max_wait_s=1)
    take(admission, 500, seconds_each=0.1)
    assert admission.ahead(1, Caller()) == 1
    take(admission, 1, seconds_each=0.1)
    assert refusal(admission, 1, seconds_each=0.5).code is Code.QUEUE_FULL


async def test_bulk_is_not_ahead_of_interactive_and_has_half_of_the_permits() -> None:
    admission = Admission(permits=10, max_wait_s=99)
    take(admission, 4, Caller(Priority.BULK))
    assert admission.ahead(1, Caller()) == 0
    assert refusal(admission, 2, caller=Caller(Priority.BULK)).code is Code.QUEUE_FULL
    interactive = take(admission, 3)
    assert admission.ahead(1, Caller(Priority.BULK)) == 1 + 3
    admission.give_back(interactive)


async def test_a_single_bulk_request_may_be_larger_than_half() -> None:
    take(Admission(permits=10, max_wait_s=99), 8, Caller(Priority.BULK))


async def test_whoever_waits_for_a_permit_is_woken_two_for_each_permit_that_is_given_back() -> None:
    admission = Admission(permits=2, max_wait_s=9)
    caller = take(admission, 2)
    first, left, second, third = (asyncio.create_task(admission.wait_for_permit(Caller())) for _ in range(4))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait((left,))
    admission.give_back(caller)
    await asyncio.wait((first, second))
    assert not third.done()
    admission.give_back(caller)
    await asyncio.wait_for(asyncio.gather(third, admission.close()), 9)


async def test_permits_are_offered_to_callers_in_turn_and_to_none_that_has_its_share() -> None:
    admission = Admission(permits=8, max_wait_s=9)
    greedy, modest = take(admission, 4), Caller()
    waiting = [asyncio.create_task(admission.wait_for_permit(caller)) for caller in (greedy, greedy, modest, modest)]
    other = take(admission, 1)
    await asyncio.sleep(0)
    admission.give_back(other)
    await asyncio.wait(waiting[2:])
    assert not any(task.done() for task in waiting[:2])
    for task in waiting[:2]:
        task.cancel()


async def test_no_caller_gets_more_than_its_share_while_others_are_here() -> None:
    admission = Admission(permits=12, max_wait_s=9)
    take(admission, 4)
    take(admission, 4)
    assert refusal(admission, 4).code is Code.QUEUE_FULL  # it would leave nothing for whoever comes next
    for _ in range(4):
        take(admission, 1)


async def test_one_caller_alone_may_have_all_permits_unless_it_waits_for_them() -> None:
    take(Admission(permits=12, max_wait_s=9), 12)
    admission = Admission(permits=12, max_wait_s=9)
    patient = Caller()
    for _ in range(6):
        admission.take(1, patient, LATE_S, lambda images: 0.0, patient=True)
    with pytest.raises(ServingError):
        admission.take(1, patient, LATE_S, lambda images: 0.0, patient=True)


@given(st.lists(st.integers(1, 64), max_size=40), st.integers(1, 256), st.integers(1, 2))
def test_a_fair_share_is_what_is_left_when_nobody_keeps_more_than_it(
    taken: list[int], permits: int, newcomers: int
) -> None:
    share = fair_share(taken, permits, newcomers)
    assert sum(min(count, share) for count in taken) + newcomers * share == pytest.approx(permits)


async def test_who_was_woken_and_leaves_passes_the_permit_on() -> None:
    admission = Admission(1, max_wait_s=9)
    holder = Caller()
    admission.take(1, holder, time.monotonic() + 60, lambda images: 0.0)
    first, second = (asyncio.create_task(admission.wait_for_permit(Caller())) for _ in range(2))
    await asyncio.sleep(0)
    third = asyncio.create_task(admission.wait_for_permit(Caller()))
    await asyncio.sleep(0)
    admission.give_back(holder)
    first.cancel()
    await asyncio.wait((first,))
    admission.pass_on()
    await asyncio.wait_for(asyncio.gather(second, third), 5)
