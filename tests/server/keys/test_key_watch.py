"""Files that change while the server runs."""

import asyncio
import logging
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from server.errors import Code, ServingError
from server.keys.access import Access
from server.keys.key_watch import KeyWatch
from server.keys.ledger import Ledger
from server.keys.sources import Sources
from server.metrics import Metrics
from server.scheduling.fair_queue import Priority
from server.scheduling.key_callers import KeyCallers
from tests.support import keys
from tests.support.clock import Clock

pytestmark = pytest.mark.anyio


class Scene:
    """A watched file, and those that hear of it."""

    def __init__(self, path: Path, *tables: str) -> None:
        self.path = keys.write(path / "keys.toml", *tables)
        self.watch = KeyWatch(Sources(self.path))
        self.metrics = Metrics(CollectorRegistry())
        self.access = Access(self.watch.ring, need_key=True)
        self.ledger = Ledger(self.watch.ring, self.metrics.key_quota_left, self.watch.look_at_once)
        self.callers = KeyCallers(self.ledger)
        self.watch.tell(self.access.take_over)
        self.watch.tell(self.ledger.take_over)

    def opens(self, name: str) -> bool:
        return self.watch.ring.find(keys.secret(name)) is not None


async def test_keys_come_and_go(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keys.table("a"))
    assert (scene.opens("a"), scene.opens("b")) == (True, False)
    keys.write(scene.path, keys.table("b"))
    await scene.watch.look_now()
    assert (scene.opens("a"), scene.opens("b")) == (False, True)
    assert scene.access.key_of(keys.secret("b")).name == "b"
    with pytest.raises(ServingError) as raised:
        scene.access.key_of(keys.secret("a"))
    assert raised.value.code is Code.UNAUTHORIZED


async def test_a_file_of_the_same_size_and_time_is_another_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keys.table("a"))
    before = scene.path.stat()
    keys.write(scene.path, keys.table("b"))
    os.utime(scene.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scene.path.stat().st_size == before.st_size
    await scene.watch.look_now()
    assert scene.opens("b")


async def test_an_invalid_file_leaves_the_keys_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(tmp_path, keys.table("a"))
    keys.write(scene.path, keys.table("b", rte=1))
    for _ in range(3):
        await scene.watch.look_now()
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the keys stay as they were" in line.message
    assert "there is no field 'rte'" in line.message
    scene.path.unlink()
    await scene.watch.look_now()
    assert scene.opens("a")
    keys.write(scene.path, keys.table("b"))
    await scene.watch.look_now()
    assert (scene.opens("a"), scene.opens("b")) == (False, True)


async def test_what_a_key_has_used_survives_and_its_caller_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keys.table("a", rate=0.001, burst=5), keys.table("b"))
    caller = scene.callers.of("a", Priority.INTERACTIVE)
    assert caller.account
    caller.account.spend(5)
    keys.write(scene.path, keys.table("a", rate=0.001, burst=9))
    await scene.watch.look_now()
    assert scene.callers.of("a", Priority.INTERACTIVE) is caller
    with pytest.raises(ServingError) as raised:
        caller.account.check(1)
    assert raised.value.code is Code.RATE_LIMITED
    keys.write(scene.path, keys.table("b"))
    await scene.watch.look_now()
    keys.write(scene.path, keys.table("a", rate=0.001, burst=9))
    await scene.watch.look_now()
    again = scene.callers.of("a", Priority.INTERACTIVE)
    assert again is not caller
    assert again.account
    again.account.check(9)
    with pytest.raises(ServingError) as raised:
        caller.account.check(1)
    assert raised.value.code is Code.UNAUTHORIZED


async def test_the_ledger_looks_for_a_key_that_a_front_knows_already(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keys.table("a"))
    keys.write(scene.path, keys.table("b"))
    assert scene.callers.of("b", Priority.BULK).account
    with pytest.raises(ServingError) as raised:
        scene.callers.of("a", Priority.BULK)
    assert raised.value.code is Code.UNAUTHORIZED


async def test_the_metric_of_what_is_left_follows_the_file(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keys.table("a", quota_per_day=5), keys.table("b"))

    def left(name: str) -> float | None:
        return scene.metrics.registry.get_sample_value("sesame_key_quota_left_images", {"key": name})

    account = scene.ledger.account("a")
    assert account
    account.spend(2)
    assert (left("a"), left("b")) == (3, None)
    keys.write(scene.path, keys.table("a"), keys.table("b", quota_per_day=1))
    await scene.watch.look_now()
    assert (left("a"), left("b")) == (None, 1)


async def test_it_looks_once_a_second(tmp_path: Path) -> None:
    scene = Scene(tmp_path, keys.table("a"))
    keys.write(scene.path, keys.table("b"))
    scene.watch.look()
    looking = [scene.watch.is_looking]
    scene.watch.look()
    looking.append(scene.watch.is_looking)
    assert looking == [False, True]
    while not scene.opens("b"):
        await asyncio.sleep(0)
    assert scene.watch.complaint == ""


def test_what_is_known_to_be_spent_is_refused_for_a_moment(tmp_path: Path) -> None:
    clock = Clock()
    ring = Sources(keys.write(tmp_path / "keys.toml", keys.table("a"), keys.table("b"))).read()
    access = Access(ring, need_key=True, clock=clock)
    a, b = ring.keys
    access.note_spent(a, 60.0)
    clock.now_s = 0.5
    with pytest.raises(ServingError) as raised:
        access.refuse_spent(a)
    assert (raised.value.code, raised.value.retry_after_s) == (Code.RATE_LIMITED, 59.5)
    access.refuse_spent(b)
    clock.now_s = 1.0
    access.refuse_spent(a)
    access.note_spent(a, 60.0)
    access.take_over(ring)
    access.refuse_spent(a)
