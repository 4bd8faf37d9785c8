"""Which slots a front takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.processes.wire.free_slots import FreeSlots


def test_the_slot_given_back_last_is_taken_first() -> None:
    free = FreeSlots(8)
    assert free.take(3) == [0, 1, 2]
    free.give_back([1])
    free.give_back([0])
    assert free.take(3) == [0, 1, 3]


def test_all_or_none_are_taken() -> None:
    free = FreeSlots(3)
    assert free.take(4) is None
    assert free.take(2) == [0, 1]
    assert free.take(2) is None
    assert len(free) == 1
    assert free.take(1) == [2]
    assert free.take(1) is None


@pytest.mark.parametrize("count", [0, -1])
def test_no_slot_cannot_be_taken(count: int) -> None:
    with pytest.raises(ValueError, match="cannot be taken"):
        FreeSlots(3).take(count)


@pytest.mark.parametrize("slots", [[0, 0], [1], [-1], [3]])
def test_a_slot_that_is_not_taken_is_not_given_back(slots: list[int]) -> None:
    free = FreeSlots(3)
    free.take(1)
    with pytest.raises(RuntimeError, match="bug"):
        free.give_back(slots)
    assert len(free) <= 3


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5).filter(bool)))
def test_no_slot_is_ever_taken_twice_or_lost(steps: list[int]) -> None:
    """A positive step takes so many, a negative one gives so many back."""
    free = FreeSlots(10)
    held: list[int] = []
    highest = 0
    for step in steps:
        if step > 0:
            taken = free.take(step)
            assert (taken is None) == (len(held) + step > 10)
            held += taken or []
            highest = max(highest, len(held))
        else:
            free.give_back(held[step:])
            del held[step:]
        assert len(set(held)) == len(held)
        assert len(free) == 10 - len(held)
        assert all(slot < highest for slot in held)
