"""Rates and quotas, on a clock that the test moves."""

import asyncio
import dataclasses
import math
from collections.abc import Callable

import pytest

from server.errors import Code, ServingError
from server.keys.account import Account
from server.keys.key import Key
from tests.support.clock import Clock

DAY_S = 86_400


class Scene:
    """An account, and its clocks. The wall clock begins an hour before midnight UTC."""

    def __init__(self, **fields: float) -> None:
        self.key = dataclasses.replace(Key("a", bytes(32)), **fields)  # type: ignore[arg-type]
        self.clock, self.wall = Clock(), Clock()
        self.wall.now_s = 20_000 * DAY_S - 3600
        self.account = Account(self.key, self.clock, self.wall)

    def after(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.wall.now_s += seconds

    def takes(self, images: int = 1) -> bool:
        if self.refusal(lambda: self.account.check(images)):
            return False
        self.account.spend(images)
        return True

    @staticmethod
    def refusal(try_it: Callable[[], object]) -> ServingError | None:
        try:
            try_it()
        except ServingError as error:
            return error
        return None


def test_a_key_without_limits_takes_all() -> None:
    scene = Scene()
    assert all(scene.takes(1000) for _ in range(1000))
    assert math.isinf(scene.account.quota_left())


def test_a_burst_passes_and_then_the_rate() -> None:
    scene = Scene(rate=10.0, burst=5)
    assert [scene.takes() for _ in range(6)] == [True] * 5 + [False]
    scene.after(0.05)
    assert not scene.takes()
    scene.after(0.05)
    assert scene.takes()
    scene.after(100)
    assert [scene.takes() for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize("offered_per_s", [5, 10, 20, 1000])
def test_over_ten_seconds_the_rate_holds(offered_per_s: int) -> None:
    scene = Scene(rate=10.0, burst=10)
    taken = 0
    for _ in range(10 * offered_per_s):
        taken += scene.takes()
        scene.after(1 / offered_per_s)
    allowed = min(10 * offered_per_s, 10 * 10 + 10)
    assert taken == pytest.approx(allowed, rel=0.05)


def test_a_request_takes_all_of_its_images_or_none_and_hears_when() -> None:
    scene = Scene(rate=10.0, burst=8)
    assert scene.takes(6)
    error = scene.refusal(lambda: scene.account.check(5))
    assert error and error.code is Code.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(0.3)
    assert scene.takes(2)
    scene.after(0.3)
    error = scene.refusal(lambda: scene.account.check(5))
    assert error and error.retry_after_s == pytest.approx(0.2)
    scene.after(0.2 + 1e-9)
    assert scene.takes(5)


@pytest.mark.parametrize(("fields", "name"), [({"rate": 1.0, "burst": 4}, "burst"), ({"quota_per_day": 4}, "quota")])
def test_what_could_never_pass_is_malformed(fields: dict[str, float], name: str) -> None:
    scene = Scene(**fields)
    error = scene.refusal(lambda: scene.account.check(5))
    assert error and error.code is Code.MALFORMED
    assert name in error.detail


def test_a_quota_lasts_until_midnight() -> None:
    scene = Scene(quota_per_day=3)
    assert [scene.takes() for _ in range(4)] == [True, True, True, False]
    scene.after(600)
    error = scene.refusal(lambda: scene.account.check(1))
    assert error and error.code is Code.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(3000)
    assert scene.account.quota_left() == 0
    scene.after(3000)
    assert scene.account.quota_left() == 3
    assert scene.takes(3)


def test_what_was_used_stays_used_when_limits_change() -> None:
    scene = Scene(rate=10.0, burst=10, quota_per_day=100)
    assert scene.takes(10)
    scene.account.change(dataclasses.replace(scene.key, rate=100.0, quota_per_day=12))
    assert not scene.takes()
    assert scene.account.quota_left() == 2
    scene.after(0.1)
    assert not scene.takes(3)
    assert scene.takes(2)


def test_a_key_that_gets_its_first_rate_begins_with_its_burst() -> None:
    scene = Scene()
    assert scene.takes(50)
    scene.account.change(dataclasses.replace(scene.key, rate=1.0, burst=2))
    assert [scene.takes() for _ in range(3)] == [True, True, False]


def test_a_removed_key_may_nothing() -> None:
    scene = Scene()
    scene.account.close()
    error = scene.refusal(lambda: scene.account.check(1))
    assert error and error.code is Code.UNAUTHORIZED


@pytest.mark.anyio
async def test_patient_images_take_their_turn_in_advance() -> None:
    scene = Scene(rate=1000.0, burst=1)
    waiting = [asyncio.create_task(scene.account.spend_patiently(1, math.inf)) for _ in range(20)]
    await asyncio.sleep(0)
    error = scene.refusal(lambda: scene.account.check(1))
    assert error and error.retry_after_s == pytest.approx(0.020)
    await asyncio.gather(*waiting)


@pytest.mark.anyio
async def test_patience_ends_at_the_deadline_and_with_too_many() -> None:
    scene = Scene(rate=1.0, burst=1)
    assert scene.takes()
    with pytest.raises(ServingError) as raised:
        await scene.account.spend_patiently(1, scene.clock() + 0.5)
    assert (raised.value.code, raised.value.retry_after_s) == (Code.RATE_LIMITED, 1.0)
    waiting = [asyncio.create_task(scene.account.spend_patiently(1, math.inf)) for _ in range(64)]
    await asyncio.sleep(0)
    with pytest.raises(ServingError) as raised:
        await scene.account.spend_patiently(1, math.inf)
    assert (raised.value.code, raised.value.retry_after_s) == (Code.RATE_LIMITED, 65.0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    error = scene.refusal(lambda: scene.account.check(1))
    assert error and error.retry_after_s == pytest.approx(1.0)


@pytest.mark.anyio
async def test_a_key_that_is_removed_ends_the_patience_of_its_images() -> None:
    scene = Scene(rate=0.001, burst=1)
    assert scene.takes()
    waiting = asyncio.create_task(scene.account.spend_patiently(1, math.inf))
    await asyncio.sleep(0)
    scene.account.close()
    with pytest.raises(ServingError) as raised:
        await waiting
    assert raised.value.code is Code.UNAUTHORIZED
