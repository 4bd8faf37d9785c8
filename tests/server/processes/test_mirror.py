"""What a front knows of the core's models, and when it says that it can answer for one."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from server.errors import Code, ServingError
from server.metrics import Metrics
from server.processes.core.core import NoDecoding
from server.processes.front.mirror import Mirror
from server.processes.front.session import Session
from server.processes.wire import control_socket
from server.processes.wire import messages as m
from server.registry.entry import State
from server.registry.target import Target
from server.scheduling.threads import Threads
from tests.support.fronts import NoPhotos
from tests.support.published import publish
from tests.support.seam import LIMIT_S, BareCore, until

pytestmark = pytest.mark.anyio


@dataclass
class Scene:
    """A mirror, the session that tells it what there is, and the bare core."""

    mirror: Mirror
    threads: Threads
    session: Session
    core: BareCore
    root: Path

    def version(self, version: str, load: int, state: str = "READY", **fields: Any) -> m.Version:
        return m.Version("demo", version, str(self.root / "demo" / version), state, "", load, batch=8, **fields)

    def tell(self, *versions: m.Version, complete: bool = True, aliases: dict[str, Target] | None = None) -> None:
        self.mirror.update(self.session, m.Catalogue(complete, list(versions), aliases or {}))

    async def offered(self, load: int, version: str) -> m.Prepared:
        await self.mirror.prepare(self.session, m.Offer(load, str(self.root / "demo" / version)))
        prepared = await self.core.next()
        assert isinstance(prepared, m.Prepared)
        assert prepared.load == load
        return prepared

    def served(self, model: str = "") -> int | Code:
        """The load that a request gets, or why it gets none."""
        try:
            return self.mirror.pick(model, "").loaded.number
        except ServingError as error:
            return error.code

    def states(self) -> list[str]:
        return [f"{entry.version} {entry.state}" for entry in self.mirror.entries()]


@pytest.fixture
async def scene(demo: Path, tmp_path: Path) -> AsyncIterator[Scene]:
    publish(demo, tmp_path, 1)
    publish(demo, tmp_path, 2)
    publish(demo, tmp_path, 3, spoilt=True)
    threads = Threads(1, "load")
    mirror = Mirror("", NoDecoding(), threads, Metrics(CollectorRegistry()), 0)
    listening, name = control_socket.listen()
    beginning = asyncio.create_task(Session.begin(name, lambda session, message: None, mirror.clear))
    core = await BareCore.accept(listening)
    session = await beginning
    yield Scene(mirror, threads, session, core, tmp_path)
    core.close()
    listening.close()
    await asyncio.wait_for(session.ended.wait(), LIMIT_S)
    threads.close()


async def test_a_version_is_ready_when_its_bundle_has_been_read_and_not_before(scene: Scene) -> None:
    may_read = threading.Event()
    busy = asyncio.create_task(scene.threads.run(may_read.wait))
    parity = (32, 0.5, 0.25, 1.0, 0.75)
    told = scene.version("1", 5, engine="e", precision="int8", why="fast", device="cpu", copies=2, parity=parity)
    scene.tell(told)
    await asyncio.sleep(0)
    assert (scene.states(), scene.served()) == (["1 LOADING"], Code.NOT_READY)
    assert not scene.mirror.complete.is_set()
    may_read.set()
    await busy
    await asyncio.wait_for(scene.mirror.complete.wait(), LIMIT_S)
    assert (scene.states(), scene.served()) == (["1 READY"], 5)
    loaded = scene.mirror.pick("demo", "1").loaded
    assert (loaded.engine.name, loaded.engine.precision, loaded.choice.why) == ("e", "int8", "fast")
    assert (len(loaded.choice.engines), loaded.choice.device, loaded.batch) == (2, "cpu", 8)
    assert (loaded.parity.images, loaded.parity.max_dp, loaded.parity.max_dlogp) == (32, 0.5, 0.25)
    assert (loaded.parity.top1_agreement, loaded.parity.top5_agreement) == (1.0, 0.75)
    with pytest.raises(RuntimeError, match="bug"):
        loaded.engine.run(loaded.bundle.probe.pixels)


async def test_a_version_stays_the_same_while_the_catalogue_changes_and_is_sick_when_it_says_so(scene: Scene) -> None:
    await scene.offered(5, "1")
    scene.tell(scene.version("1", 5))
    ready = scene.mirror.pick("", "")
    for sick in (True, False):
        scene.tell(scene.version("1", 5, sick=sick), scene.version("2", 0, "LOADING"))
        assert scene.mirror.pick("demo", "1") is ready
        assert ready.queue.sick is sick
        assert scene.mirror.sick() == [ready] * sick


async def test_an_offer_is_answered_when_the_bundle_has_been_read(scene: Scene) -> None:
    assert await scene.offered(5, "1") == m.Prepared(5, "")
    scene.tell(scene.version("1", 5))
    assert scene.served() == 5  # at once


async def test_a_damaged_bundle_is_a_fault_of_the_offer(scene: Scene) -> None:
    prepared = await scene.offered(5, "3")
    assert "labels.tsv" in prepared.fault


async def test_a_front_that_cannot_use_a_bundle_says_so_whatever_the_reason(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.mirror._decoding = NoPhotos()
    assert "see the log" in (await scene.offered(5, "1")).fault
    assert "no such interpolation" in caplog.text


async def test_a_bundle_that_is_damaged_when_the_core_serves_it_already_fails_here_alone(scene: Scene) -> None:
    await scene.offered(5, "1")
    scene.tell(scene.version("1", 5), scene.version("3", 6))
    await until(lambda: scene.states() == ["1 READY", "3 FAILED"])
    assert "labels.tsv" in scene.mirror.matching("demo", "3")[0].reason
    assert scene.served() == 5
    assert scene.mirror.complete.is_set()
    scene.tell(scene.version("1", 5), scene.version("3", 6))
    assert scene.states() == ["1 READY", "3 FAILED"]


async def test_a_new_version_is_read_while_another_one_serves_and_takes_over_at_once(scene: Scene) -> None:
    await scene.offered(5, "1")
    scene.tell(scene.version("1", 5))
    await scene.offered(6, "2")
    scene.tell(scene.version("1", 5), scene.version("2", 0, "LOADING"))
    assert scene.served() == 5
    scene.tell(scene.version("1", 5), scene.version("2", 6))
    assert scene.served() == 6
    scene.tell(scene.version("1", 0, "UNLOADED"), scene.version("2", 6))
    assert scene.states() == ["1 UNLOADED", "2 READY"]


async def test_a_version_that_is_loaded_again_is_another_load(scene: Scene) -> None:
    await scene.offered(5, "1")
    scene.tell(scene.version("1", 5))
    before = scene.mirror.pick("", "")
    await scene.offered(6, "1")
    assert scene.mirror.pick("", "") is before
    scene.tell(scene.version("1", 6))
    assert scene.served() == 6
    assert not scene.mirror._bundles
    assert list(scene.mirror._ready) == [6]


async def test_it_is_complete_when_the_core_is_and_all_that_serves_is_read_here(scene: Scene) -> None:
    scene.tell(complete=False)
    await scene.offered(5, "1")
    scene.tell(scene.version("1", 5), complete=False)
    assert not scene.mirror.complete.is_set()
    scene.tell(scene.version("1", 5), scene.version("2", 0, "LOADING"))  # which may take the core long
    assert scene.mirror.complete.is_set()


async def test_a_core_that_ends_takes_its_models_along(scene: Scene) -> None:
    await scene.offered(5, "1")
    scene.tell(scene.version("1", 5), scene.version("2", 0, "UNLOADED"))
    scene.core.close()
    await until(lambda: scene.session.lost)
    assert (scene.states(), scene.served()) == (["1 LOADING", "2 UNLOADED"], Code.NOT_READY)


async def test_the_loads_of_the_next_core_have_nothing_to_do_with_those_of_the_last(scene: Scene) -> None:
    await scene.offered(5, "1")
    await scene.offered(6, "1")
    scene.tell(scene.version("1", 5))
    scene.core.close()
    await until(lambda: scene.session.lost)
    await scene.mirror.prepare(scene.session, m.Offer(7, str(scene.root / "demo" / "1")))  # it came late
    versions = [scene.version("2", load) for load in (5, 6, 7)]
    for version in versions:
        scene.tell(version)
        await until(lambda: scene.served() != Code.NOT_READY)
        assert scene.served() == version.load
        assert scene.mirror.pick("", "").loaded.bundle.manifest.version == "2"


async def test_aliases_are_those_of_the_core(scene: Scene) -> None:
    await scene.offered(5, "1")
    scene.tell(scene.version("1", 5), aliases={"stable": Target("demo", "1"), "newest": Target("demo")})
    assert scene.served("stable") == scene.served("newest") == 5
    assert scene.mirror.aliases.all() == {"stable": Target("demo", "1"), "newest": Target("demo")}
    assert scene.mirror.aliases_of(scene.mirror.entries()[0]) == ["stable"]
    scene.tell(scene.version("1", 5))
    assert scene.served("stable") == Code.UNKNOWN_MODEL


async def test_states_and_reasons_are_those_of_the_core(scene: Scene) -> None:
    failed = m.Version("demo", "1", "/nowhere", "FAILED", "no engine")
    scene.tell(failed)
    (entry,) = scene.mirror.entries()
    assert (entry.state, entry.reason, entry.path) == (State.FAILED, "no engine", Path("/nowhere"))
    assert scene.mirror.unserved() == ["demo"]
