"""The budget of bytes: who is refused, who waits, who gives way; and that nothing stays held."""

import asyncio
from functools import partial

import pytest

from server.errors import Code, ServingError
from server.receiving import Receipt, ReceiveBudget

pytestmark = pytest.mark.anyio
MIB = 1 << 20


async def test_what_is_held_is_counted_and_given_back_however_the_request_ends() -> None:
    budget = ReceiveBudget(100 * MIB)
    with pytest.raises(ZeroDivisionError), Receipt(budget) as receipt:
        receipt.grow(3 * MIB)
        receipt.shrink_by(MIB)
        assert budget.taken == 2 * MIB
        raise ZeroDivisionError
    assert budget.taken == 0


async def test_a_receipt_never_gives_back_more_than_it_holds() -> None:
    budget = ReceiveBudget(100 * MIB)
    with Receipt(budget) as receipt:
        receipt.grow(MIB)
        receipt.shrink_by(5 * MIB)
    receipt.shrink_by(MIB)
    assert budget.taken == 0


async def test_large_requests_leave_room_for_small_ones() -> None:
    budget = ReceiveBudget(100 * MIB)
    Receipt(budget).grow(75 * MIB)
    with pytest.raises(ServingError) as refused:
        Receipt(budget).grow(2 * MIB)
    assert refused.value.code is Code.QUEUE_FULL
    for _ in range(25):
        Receipt(budget).grow(MIB)
    with pytest.raises(ServingError):
        Receipt(budget).grow(1)


async def test_a_promise_waits_until_there_is_room() -> None:
    budget = ReceiveBudget(100 * MIB)
    first, second = Receipt(budget), Receipt(budget)
    first.grow(70 * MIB)
    waiting = asyncio.create_task(budget.promise(second, 20 * MIB, lambda: None))
    await asyncio.sleep(0)
    assert not waiting.done()
    first.shrink_by(60 * MIB)
    await asyncio.wait_for(waiting, 9)
    assert budget.taken == 30 * MIB
    budget.redeem(second)
    assert budget.taken == 10 * MIB


async def test_the_oldest_promise_gives_way_to_whoever_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.receiving._SLOW_AFTER_S", 0.05)
    budget = ReceiveBudget(100 * MIB)
    pushed: list[str] = []
    receipts = {name: Receipt(budget) for name in ("old", "young", "new")}

    def give_way(name: str) -> None:
        pushed.append(name)
        budget.redeem(receipts[name])

    for name, receipt in receipts.items():
        await asyncio.wait_for(budget.promise(receipt, 30 * MIB, partial(give_way, name)), 9)
    assert pushed == ["old"]
    assert budget.taken == 60 * MIB


async def test_nobody_gives_way_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.receiving._SLOW_AFTER_S", 0.0)
    budget, pushed = ReceiveBudget(100 * MIB), list[int]()
    for number in range(3):
        await budget.promise(Receipt(budget), 20 * MIB, partial(pushed.append, number))
    assert not pushed
