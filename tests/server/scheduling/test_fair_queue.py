"""Whose turn it is among the images that wait for one engine."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from server.scheduling.fair_queue import Caller, FairQueue, Priority


@dataclass(eq=False)
class Image:
    caller: Caller
    number: int = 0
    work: float = 1.0


def waiting_of(*counts: tuple[Caller, int]) -> FairQueue[Image]:
    waiting: FairQueue[Image] = FairQueue()
    for caller, count in counts:
        for number in range(count):
            waiting.put(Image(caller, number))
    return waiting


def take(waiting: FairQueue[Image], count: int) -> list[Image]:
    return [image for _ in range(count) if (image := waiting.take())]


def test_one_caller_with_500_images_does_not_hold_up_one_with_one() -> None:
    many, one = Caller(), Caller()
    waiting = waiting_of((many, 500), (one, 1))
    assert [image.caller for image in take(waiting, 3)] == [many, one, many]


def test_callers_take_turns_and_each_keeps_its_order() -> None:
    a, b = Caller(), Caller()
    taken = take(waiting_of((a, 3), (b, 2)), 5)
    assert [image.caller for image in taken] == [a, b, a, b, a]
    assert [image.number for image in taken if image.caller is a] == [0, 1, 2]


def test_bulk_waits_for_interactive_but_gets_one_turn_in_eight() -> None:
    bulk, interactive = Caller(Priority.BULK), Caller()
    waiting = waiting_of((bulk, 3), (interactive, 20))
    taken = take(waiting, 23)
    assert [at for at, image in enumerate(taken) if image.caller is bulk] == [7, 15, 22]


def test_what_is_put_back_is_next() -> None:
    a, b = Caller(), Caller()
    waiting = waiting_of((a, 2), (b, 1))
    image = waiting.take()
    assert image
    waiting.put_back(image)
    assert waiting.take() is image
    assert len(waiting) == 2


def test_nothing_can_be_taken_where_nothing_waits() -> None:
    assert FairQueue[Image]().take() is None


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "withdraw"]), st.integers(0, 3)), max_size=80))
def test_nothing_is_lost_or_taken_twice(steps: list[tuple[str, int]]) -> None:
    callers = [Caller(), Caller(), Caller(Priority.BULK), Caller(Priority.BULK)]
    waiting: FairQueue[Image] = FairQueue()
    there: list[Image] = []
    for step, which in steps:
        if step == "put":
            there.append(Image(callers[which]))
            waiting.put(there[-1])
        elif step == "take" and there:
            image = waiting.take()
            assert image
            there.remove(image)
            assert not waiting.withdraw(image)
        elif step == "withdraw" and there:
            assert waiting.withdraw(there.pop(which % len(there)))
        assert len(waiting) == len(there)
    assert sorted(map(id, take(waiting, len(there)))) == sorted(map(id, there))
