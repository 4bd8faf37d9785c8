"""A core and its fronts together: versions come and go, operators ask, and a core ends, while requests go on."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bundle.files import Bundle
from server.engines.choice import Choice
from server.errors import Code, ServingError
from server.processes.core import core as core_of
from server.registry.entry import State
from server.registry.target import Target
from tests.support.faces import Held, KnowsProbe
from tests.support.fronts import Front, NoPhotos, Whole, whole
from tests.support.loops import BOTH_LOOPS
from tests.support.pictures import jpeg
from tests.support.published import publish
from tests.support.seam import LIMIT_S, until

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]


def choose(bundle: Bundle) -> Choice:
    return Choice(KnowsProbe(bundle), "a test's")


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    publish(demo, tmp_path / "models", 1)
    return tmp_path / "models"


@pytest.fixture
async def there(root: Path, tmp_path: Path) -> AsyncIterator[Whole]:
    async with whole(root, choose, tmp_path / "cache") as whole_server:
        yield whole_server


async def code_of(front: Front) -> Code | str:
    try:
        return await front.classify(jpeg())
    except ServingError as error:
        return error.code


async def test_both_fronts_answer_for_what_the_core_has(there: Whole) -> None:
    for front in there.fronts:
        assert front.states() == ["1 READY"]
        assert await front.classify(jpeg()) == "1"


async def test_no_request_is_lost_while_versions_are_replaced(there: Whole, root: Path, demo: Path) -> None:
    done = asyncio.Event()
    answered: list[str] = []

    async def ask(front: Front, number: int) -> None:
        while not done.is_set():
            answered.append(await front.classify(jpeg(number)))

    tasks = [asyncio.create_task(ask(front, number)) for front in there.fronts for number in range(3)]
    publish(demo, root, 2)
    publish(demo, root, 3)
    for version in ("1", "2", "2", "3"):
        entry = await there.fronts[0].deployer.load("demo", version)
        assert (entry.version, entry.state, entry.is_ready()) == (version, State.READY, True)
        answered.clear()
        await until(lambda: len(answered) > 12)
        assert answered[-1] == version
    done.set()
    await asyncio.wait_for(asyncio.gather(*tasks), LIMIT_S)


async def test_when_a_load_is_answered_every_front_serves_it(there: Whole, root: Path, demo: Path) -> None:
    publish(demo, root, 2)
    await there.fronts[1].deployer.load("demo", "")
    assert await there.fronts[1].classify(jpeg()) == "2"
    assert await there.fronts[0].classify(jpeg()) == "2"


async def test_a_bundle_that_a_front_cannot_use_fails_and_what_was_served_still_is(
    there: Whole, root: Path, demo: Path
) -> None:
    publish(demo, root, 2)
    there.fronts[1].mirror._decoding = NoPhotos()
    with pytest.raises(ServingError, match="a front could not read it") as failed:
        await there.fronts[0].deployer.load("demo", "2")
    assert failed.value.code is Code.CONFLICT
    await until(lambda: there.fronts[0].states() == ["1 READY", "2 FAILED"])
    assert await there.fronts[0].classify(jpeg()) == "1"
    await there.core.registry.deployer.refresh()
    there.fronts[1].mirror._decoding = core_of.NoDecoding()
    assert (await there.fronts[0].deployer.load("demo", "2")).is_ready()


async def test_a_bundle_that_does_not_fit_between_processes_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_of, "MOST_CLASSES", 199)
    there = Whole(root, choose, tmp_path / "cache")
    assert not await there.core.load()
    (entry,) = there.core.registry.repository.entries()
    assert (entry.state, "--fronts 0" in entry.fault) == (State.FAILED, True)
    await there.end()


async def test_the_errors_of_operators_are_those_of_one_process(there: Whole) -> None:
    for deployer in (there.core.registry.deployer, there.fronts[0].deployer):
        for wrong, code in (
            (deployer.load("other", ""), Code.UNKNOWN_MODEL),
            (deployer.load("demo", "x"), Code.MALFORMED),
            (deployer.unload("demo", "7"), Code.UNKNOWN_MODEL),
            (deployer.set_alias("demo", Target("demo", "1")), Code.MALFORMED),
            (deployer.set_alias("nobody", None), Code.UNKNOWN_MODEL),
        ):
            with pytest.raises(ServingError) as failed:
                await wrong
            assert failed.value.code is code


async def test_aliases_are_set_and_removed_for_all(there: Whole) -> None:
    one, other = there.fronts
    assert await one.deployer.set_alias("stable", Target("demo", "1"))
    assert one.mirror.aliases.all() == {"stable": Target("demo", "1")}
    assert await one.classify(jpeg(), "stable") == "1"
    await until(lambda: other.mirror.aliases.all())
    assert await other.deployer.set_alias("stable", None)
    assert other.mirror.aliases.all() == {}


async def test_what_is_unloaded_is_not_served_anywhere(there: Whole) -> None:
    (entry,) = await there.fronts[0].deployer.unload("demo", "")
    assert (entry.version, entry.state) == ("1", State.UNLOADED)
    assert [await code_of(front) for front in there.fronts] == [Code.NOT_READY] * 2
    assert (await there.fronts[1].deployer.load("demo", "")).is_ready()
    assert await there.fronts[1].classify(jpeg()) == "1"


async def test_a_version_whose_files_are_gone_can_be_unloaded(there: Whole, root: Path, demo: Path) -> None:
    publish(demo, root, 2)
    await there.fronts[0].deployer.load("demo", "2")
    shutil.rmtree(root / "demo" / "2")
    await there.core.registry.deployer.refresh()
    (entry,) = await there.fronts[0].deployer.unload("demo", "2")
    assert (entry.version, entry.state) == ("2", State.UNLOADED)


def _value(text: bytes, name: str) -> float:
    families = text_string_to_metric_families(text.decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


async def test_metrics_are_those_of_all_processes(there: Whole) -> None:
    for front in (there.fronts[0], *there.fronts):
        await front.classify(jpeg())
    for front in there.fronts:
        text = await front.backend.exposition()
        assert _value(text, "sesame_admitted_total") == 3
        assert _value(text, "sesame_batch_images_sum") == 3
        assert _value(text, "sesame_model_ready") == 1
        assert b'nv_inference_request_success{model="demo",version="1"} 3.0' in text
        assert b'nv_inference_count{model="demo",version="1"} 3.0' in text
    there.fronts[1].backend.close()
    await until(lambda: len(there.core.core._gateways) == 1)
    assert _value(await there.fronts[0].backend.exposition(), "sesame_admitted_total") == 2


async def test_without_a_core_the_metrics_are_those_of_the_front(there: Whole) -> None:
    await there.fronts[0].classify(jpeg())
    await there.core.end()
    text = await there.fronts[0].backend.exposition()
    assert (_value(text, "sesame_admitted_total"), _value(text, "sesame_batch_images_sum")) == (1, 0)


async def test_the_requests_of_a_core_that_ends_fail_and_the_next_core_answers(there: Whole) -> None:
    """Each request begins in the turn in which it first sees that the core has gone, or in one around it."""
    front = there.fronts[0]
    session = front.backend.session()
    outcomes: list[Code | str] = []

    async def ask_all_the_time() -> None:
        while not session.lost:
            outcomes.append(await code_of(front))

    async def ask_at_the_end() -> None:
        while not session.lost:
            await asyncio.sleep(0)
        outcomes.append(await code_of(front))

    tasks = [asyncio.create_task(each()) for each in (ask_all_the_time, ask_at_the_end, ask_all_the_time)]
    await until(lambda: len(outcomes) > 6)
    await there.core.end()
    await asyncio.wait_for(asyncio.gather(*tasks), LIMIT_S)
    assert set(outcomes) <= {"1", Code.ENGINE_FAILED, Code.NOT_READY}
    assert front.states() == ["1 LOADING"]
    assert await code_of(front) is Code.NOT_READY
    with pytest.raises(ServingError):
        await front.deployer.load("demo", "")
    assert await there.begin_core().load()
    await until(lambda: all(front.states() == ["1 READY"] for front in there.fronts))
    assert [await front.classify(jpeg()) for front in there.fronts] == ["1", "1"]


async def test_a_front_that_ends_while_its_operator_loads_leaves_the_load_to_the_core(
    root: Path, tmp_path: Path, demo: Path
) -> None:
    may_load = threading.Event()
    may_load.set()

    def choose_when_told(bundle: Bundle) -> Choice:
        assert may_load.wait(LIMIT_S)
        return choose(bundle)

    async with whole(root, choose_when_told, tmp_path / "cache") as there:
        publish(demo, root, 2)
        may_load.clear()
        load = asyncio.create_task(there.fronts[0].deployer.load("demo", "2"))
        await until(lambda: there.fronts[1].states() == ["1 READY", "2 LOADING"])
        there.fronts[0].backend.close()
        with pytest.raises(ServingError):
            await load
        late = Front(there.name)  # one that starts meanwhile need not wait
        there.fronts.append(late)
        assert await asyncio.wait_for(late.load(), LIMIT_S)
        may_load.set()
        await until(lambda: late.states() == ["1 UNLOADED", "2 READY"])
        assert await late.classify(jpeg()) == "2"


async def test_a_front_that_comes_later_knows_everything(there: Whole) -> None:
    await there.fronts[0].deployer.set_alias("stable", Target("demo", "1"))
    late = Front(there.name)
    there.fronts.append(late)
    assert await asyncio.wait_for(late.load(), LIMIT_S)
    assert await late.classify(jpeg(), "stable") == "1"


async def test_a_front_drains_when_its_last_image_is_answered(root: Path, tmp_path: Path) -> None:
    engines: list[Held] = []

    def choose_held(bundle: Bundle) -> Choice:
        engines.append(Held(bundle))
        return Choice(engines[-1], "a test's")

    async with whole(root, choose_held, tmp_path / "cache") as there:
        engines[0].closed = True
        task = asyncio.create_task(there.fronts[0].classify(jpeg()))
        await until(engines[0].entered.is_set)
        idle = asyncio.create_task(there.fronts[0].backend.idle())
        await asyncio.wait_for(there.fronts[1].backend.idle(), LIMIT_S)
        assert (there.fronts[0].backend.unanswered(), idle.done()) == (1, False)
        engines[0].gate.release(9)
        assert await task == "1"
        await asyncio.wait_for(idle, LIMIT_S)


async def test_a_front_accepts_requests_when_it_can_answer_them(there: Whole) -> None:
    late = Front(there.name)
    there.fronts.append(late)
    await asyncio.wait_for(late.backend.prepare(), LIMIT_S)
    assert late.states() == ["1 READY"]
    assert await late.classify(jpeg()) == "1"


async def test_while_models_load_a_front_does_not_wait_for_them(demo: Path, tmp_path: Path) -> None:
    root, may_load = tmp_path / "repository", threading.Event()
    publish(demo, root, 1)

    def choose_when_told(bundle: Bundle) -> Choice:
        assert may_load.wait(LIMIT_S)
        return choose(bundle)

    there = Whole(root, choose_when_told, tmp_path / "cache")
    loading = asyncio.create_task(there.core.load())
    try:
        async with asyncio.timeout(LIMIT_S):
            await there.fronts[0].backend.prepare()
            assert there.fronts[0].states() == ["1 LOADING"]
            may_load.set()
            assert await there.fronts[0].backend.load()
            assert await loading
    finally:
        await there.end()
