"""Whom the core tells what it serves, and for whom it waits before it serves something new."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from bundle.errors import BundleError
from server.metrics import Metrics
from server.processes.core import announcer
from server.processes.wire import messages as m
from server.registry.loader import Loaded
from server.registry.repository import Repository
from server.registry.target import Target
from tests.support.gate import Gate, batcher_of
from tests.support.published import publish
from tests.support.seam import LIMIT_S, BareFront, CoreSide, until

pytestmark = pytest.mark.anyio


@dataclass
class Scene:
    """A core that knows one version, and two fronts."""

    core: CoreSide
    repository: Repository
    loaded: Loaded
    fronts: list[BareFront]

    def offer(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self.core.announcer.offer(self.repository.entries()[0], self.loaded))

    async def offered(self, front: BareFront) -> m.Offer:
        message = await front.next()
        assert message == m.Offer(self.loaded.number, str(self.repository.entries()[0].path))
        return message

    async def quiet(self, front: BareFront) -> bool:
        """Whether it has been told nothing more."""
        await front.send(m.Ask(1, "metrics", ""))
        return await front.next() == m.Answer(1)

    async def told(self, front: BareFront) -> m.Catalogue:
        message = await front.next()
        assert isinstance(message, m.Catalogue)
        return message


@pytest.fixture
async def scene(demo: Path, tmp_path: Path) -> AsyncIterator[Scene]:
    publish(demo, tmp_path, 1)
    repository = Repository(tmp_path, "", Metrics(CollectorRegistry()))
    core = CoreSide()
    load = core.versions.add(batcher_of(Gate(open=True).run, 4, 4))
    fronts = [await core.bare(), await core.bare()]
    yield Scene(core, repository, core.versions.loads[load][0].loaded, fronts)
    for front in fronts:
        front.close()
    await core.close()


async def test_a_front_that_comes_is_told_everything_and_afterwards_every_change_once(scene: Scene) -> None:
    front = scene.fronts[0]
    scene.core.announcer.publish()
    assert await scene.quiet(front)  # nothing is described yet
    scene.core.announcer.describe(scene.repository)
    for _ in range(3):
        scene.core.announcer.publish()
    path = str(scene.repository.entries()[0].path)
    loading = m.Catalogue(False, [m.Version("demo", "1", path, "LOADING", "")], {})
    assert await scene.told(front) == loading
    assert await scene.quiet(front)
    late = await scene.core.bare()
    assert await scene.told(late) == loading
    assert await scene.quiet(late)
    late.close()
    scene.core.announcer.complete = True
    scene.repository.aliases.adopt({"stable": Target("demo", "1")})
    scene.core.announcer.publish()
    assert await scene.told(front) == m.Catalogue(True, loading.versions, {"stable": Target("demo", "1")})


async def test_a_version_that_serves_is_told_with_its_engine_and_whether_it_is_sick(scene: Scene) -> None:
    batcher = batcher_of(Gate(open=True).run, 4, 4)
    load = scene.core.versions.add(batcher)
    (entry,) = scene.repository.entries()
    entry.begin()
    entry.succeed(scene.core.versions.loads[load][0])
    scene.core.announcer.describe(scene.repository)
    scene.core.announcer.publish()
    (version,) = (await scene.told(scene.fronts[0])).versions
    assert (version.state, version.load, version.sick, version.engine) == ("READY", load, False, "fake")
    assert (version.precision, version.device, version.copies, version.batch) == ("fp32", "cpu", 1, 1)
    assert version.parity[0] == entry.ready.loaded.parity.images if entry.ready else False
    batcher._faults[0] = 3
    scene.core.announcer.publish()
    assert (await scene.told(scene.fronts[0])).versions[0].sick
    entry.retire()
    scene.core.announcer.publish()
    (version,) = (await scene.told(scene.fronts[0])).versions
    assert (version.state, version.load) == ("UNLOADED", 0)


async def test_whoever_is_sent_away_knows_the_change_that_is_the_reason(scene: Scene) -> None:
    """Else it would choose the same version again."""
    scene.core.announcer.describe(scene.repository)
    scene.core.announcer.publish()
    front = scene.fronts[0]
    await scene.told(front)
    scene.repository.entries()[0].skip()
    await front.send(m.Reserve(5, 1 << 40, [0], 1, False, False, 0.0, 0.0, 0.0))
    assert [version.state for version in (await scene.told(front)).versions] == ["UNLOADED"]
    assert await front.next() == m.Retired(5)


async def test_an_offer_waits_for_every_front(scene: Scene) -> None:
    offer = scene.offer()
    for front in scene.fronts:
        assert not offer.done()
        await scene.offered(front)
        await front.send(m.Prepared(scene.loaded.number + 1, "another one"), m.Prepared(scene.loaded.number, ""))
    await asyncio.wait_for(offer, LIMIT_S)


async def test_an_offer_waits_for_no_front_that_leaves_or_that_came_later(scene: Scene) -> None:
    offer = scene.offer()
    one, other = scene.fronts
    await scene.offered(one)
    await one.send(m.Prepared(scene.loaded.number, ""))
    late = await scene.core.bare()
    assert await scene.quiet(late)
    assert not offer.done()
    other.close()
    await asyncio.wait_for(offer, LIMIT_S)
    late.close()


async def test_without_fronts_an_offer_is_accepted_at_once(scene: Scene) -> None:
    for front in scene.fronts:
        front.close()
    await until(lambda: all(gateway.region.fd < 0 for gateway in scene.core.gateways))
    await asyncio.wait_for(scene.offer(), LIMIT_S)


async def test_a_front_that_cannot_refuses_for_all(scene: Scene) -> None:
    offer = scene.offer()
    for front, fault in zip(scene.fronts, ("", "the labels are torn"), strict=True):
        await scene.offered(front)
        await front.send(m.Prepared(scene.loaded.number, fault))
    with pytest.raises(BundleError, match="the labels are torn"):
        await asyncio.wait_for(offer, LIMIT_S)


async def test_a_front_that_takes_too_long_is_left_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(announcer, "_PREPARED_IN_S", 0.01)
    with caplog.at_level(logging.WARNING):
        await asyncio.wait_for(scene.offer(), LIMIT_S)
    assert "2 fronts have not read demo/1 yet" in caplog.text
    await scene.fronts[0].send(m.Prepared(scene.loaded.number, "too late"))
    assert isinstance(await scene.fronts[0].next(), m.Offer)
    assert await scene.quiet(scene.fronts[0])
