"""A device of several lanes: one queue, an engine in each lane, and nobody waits while a lane is idle."""

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.decoding.decoders import Decoders
from server.engines.choice import Choice
from server.engines.engine import EngineFailed
from server.errors import Code, ServingError
from server.host.exit_codes import HUNG
from server.metrics import Metrics
from server.registry.loader import Loader, QueueLimits
from server.scheduling.admission import Admission
from server.scheduling.batcher import Batcher
from server.scheduling.device import Device, water_level_s
from server.scheduling.fair_queue import Caller
from server.scheduling.latency import LatencyModel
from server.scheduling.threads import Threads
from tests.support.faces import FakeEngine, Held, KnowsProbe, running
from tests.support.gate import Gate, batcher_of, begin, lazily, reserve
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
UNLUCKY = 13


class Breaking(Gate):
    """Fails, once let through, with an unlucky image, and with any while it is broken."""

    broken = False

    def run(self, pixels: Pixels) -> Probabilities:
        rows = super().run(pixels)
        if self.broken or UNLUCKY in self.batches[-1]:
            raise OSError("the processor is gone")
        return rows


class Pair:
    """One model on two lanes, a gate in each. Every image takes the time that `seconds` says by batch size."""

    def __init__(self, seconds: dict[int, float], device: Device | None = None) -> None:
        self.gates = Breaking(), Breaking()
        self.device = device or Device("test", 2)
        starts = [lazily(gate.run) for gate in self.gates]
        admission = Admission(64, max_wait_s=1000)
        self.batcher = Batcher(starts, self.device, LatencyModel(seconds), max(seconds), admission)

    def batches(self) -> list[list[int]]:
        return sorted(batch for gate in self.gates for batch in gate.batches)

    def let_through(self, batches: int = 1) -> None:
        for gate in self.gates:
            gate.let_through(batches)

    async def until_entered(self, batches: int) -> None:
        while len(self.batches()) < batches:
            await asyncio.sleep(0)

    def begin(self, *numbers: int) -> "list[asyncio.Task[float]]":
        permits = reserve(self.batcher, len(numbers))
        return [begin(permit, number) for permit, number in zip(permits, numbers, strict=True)]

    async def fill(self) -> "list[asyncio.Task[float]]":
        """An image, 0 and 1, in each lane."""
        first = self.begin(0)
        await self.until_entered(1)
        second = self.begin(1)
        await self.until_entered(2)
        return first + second


def instant(max_batch: int) -> dict[int, float]:
    return dict.fromkeys(range(1, max_batch + 1), 1e-9)


async def test_an_image_goes_to_an_idle_lane_at_once_and_both_lanes_run_at_the_same_time() -> None:
    pair = Pair(instant(4))
    tasks = await pair.fill()
    assert [len(gate.batches) for gate in pair.gates] == [1, 1]
    pair.let_through()
    assert await asyncio.gather(*tasks) == [0, 1]


async def test_while_all_lanes_are_busy_images_gather_for_the_first_that_is_free() -> None:
    pair = Pair(instant(4))
    tasks = await pair.fill()
    tasks += pair.begin(2, 3, 4)
    while pair.batcher.queue.waiting() < 3:
        await asyncio.sleep(0)
    pair.gates[1].let_through(2)
    await asyncio.gather(*tasks[2:])
    assert pair.gates[1].batches[1:] == [[2, 3, 4]]
    pair.let_through()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]


async def test_a_full_batch_goes_to_an_idle_lane_and_behind_another_only_where_none_is() -> None:
    pair = Pair(instant(2))
    tasks = pair.begin(0)
    await pair.until_entered(1)
    tasks += pair.begin(1, 2)
    await pair.until_entered(2)
    assert [len(gate.batches) for gate in pair.gates] == [1, 1]
    tasks += pair.begin(3, 4, 5, 6, 7, 8)
    while pair.batcher.queue.waiting() != 2:  # a batch is bound in each lane, the third as late as can be
        await asyncio.sleep(0)
    pair.let_through(9)
    assert await asyncio.gather(*tasks) == list(range(9))
    assert pair.batches() == [[0], [1, 2], [3, 4], [5, 6], [7, 8]]


async def test_a_full_batch_is_bound_in_the_lane_that_will_be_free_first() -> None:
    for _ in range(10):  # by chance it would be that lane every other time
        pair = Pair({1: 10.0, 2: 10.0})
        tasks = await pair.fill()
        tasks += pair.begin(2, 3, 4)
        while pair.batcher.queue.waiting() != 1:
            await asyncio.sleep(0)
        pair.let_through(9)
        await asyncio.gather(*tasks)
        (first,) = [gate for gate in pair.gates if gate.batches[0] == [0]]
        assert first.batches[1] == [2, 3]


async def test_a_fault_in_one_lane_fails_its_batch_alone() -> None:
    pair = Pair(instant(1))
    (unlucky,) = pair.begin(UNLUCKY)
    await pair.until_entered(1)
    (lucky,) = pair.begin(1)
    await pair.until_entered(2)
    pair.let_through()
    with pytest.raises(ServingError) as failed:
        await unlucky
    assert failed.value.code is Code.ENGINE_FAILED
    assert await lucky == 1


async def test_a_lane_that_fails_again_and_again_is_not_hidden_by_one_that_works() -> None:
    pair = Pair(instant(2))
    pair.gates[0].broken = True
    for _ in range(3):
        assert not pair.batcher.sick
        before = len(pair.batches())
        tasks = pair.begin(7)
        await pair.until_entered(before + 1)
        tasks += pair.begin(8)
        await pair.until_entered(before + 2)
        pair.let_through()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(isinstance(outcome, ServingError) for outcome in outcomes) == [False, True]
    assert pair.batcher.sick
    pair.gates[0].broken = False
    pair.let_through(99)
    while pair.batcher.sick:
        await asyncio.gather(*pair.begin(7, 8, 9))


async def test_one_lane_that_hangs_gives_the_device_up() -> None:
    pair = Pair(instant(1))
    tasks = pair.begin(0)
    await pair.until_entered(1)
    running_s = pair.device.running_for_s()
    since_s = time.monotonic()
    tasks += pair.begin(1)
    await pair.until_entered(2)
    tasks += pair.begin(2, 3, 4, 5)
    while pair.batcher.queue.waiting() != 2:  # one is bound in each lane
        await asyncio.sleep(0)
    assert pair.device.running_for_s() >= running_s + time.monotonic() - since_s - 1e-3  # the longest counts
    pair.device.give_up(ServingError(Code.ENGINE_FAILED, "hangs"))
    for task in tasks:
        with pytest.raises(ServingError):
            await asyncio.wait_for(task, 9)
    with pytest.raises(ServingError):
        reserve(pair.batcher, 1)
    await asyncio.wait_for(pair.batcher.admission.idle(), 9)
    pair.let_through(9)  # the threads come back after all: nobody minds


async def test_a_model_that_retires_waits_for_all_lanes_while_the_next_is_served() -> None:
    old = Pair(instant(2))
    tasks = await old.fill()
    retiring = asyncio.create_task(old.batcher.retire())
    new = Pair(instant(2), old.device)
    old.gates[1].let_through()
    tasks += new.begin(2)
    await new.until_entered(1)
    new.let_through()
    assert await tasks[2] == 2
    assert not retiring.done()
    old.gates[0].let_through()
    await asyncio.wait_for(retiring, 9)
    assert sorted(await asyncio.gather(*tasks)) == [0, 1, 2]


async def test_models_take_turns_in_all_lanes() -> None:
    one = Pair(instant(2))
    two, gate = batcher_of(Gate(open=True).run, 8, 2, one.device), one.gates[0]
    tasks = await one.fill()
    tasks += one.begin(2, 3, 4, 5, 6)
    while one.batcher.queue.waiting() != 1:  # a batch is bound in each lane
        await asyncio.sleep(0)
    tasks += [*one.begin(7), *(begin(permit, number) for number, permit in enumerate(reserve(two, 2), 8))]
    while one.batcher.queue.waiting() + two.queue.waiting() < 4:
        await asyncio.sleep(0)
    gate.let_through()
    while two.queue.waiting():
        await asyncio.sleep(0)
    assert one.batcher.queue.waiting() == 2
    one.let_through(9)
    assert await asyncio.gather(*tasks) == list(range(10))


async def test_an_engine_is_needed_for_each_lane() -> None:
    with pytest.raises(ValueError, match="1 engines for 2 lanes"):
        Batcher([lazily(Gate().run)], Device("test", 2), LatencyModel({1: 1.0}), 1, Admission(1, 1))


async def test_predictions_share_the_work_out_among_the_lanes() -> None:
    pair = Pair({1: 10.0})
    queue, device = pair.batcher.queue, pair.device
    assert [device.free_in_s(queue, ahead) for ahead in (0, 1, 2, 4)] == [0, 5, 10, 20]
    tasks = pair.begin(0)
    await pair.until_entered(1)
    assert device.free_in_s(queue, 0) == 0  # in the other lane
    assert device.free_in_s(queue, 1) == pytest.approx(10, abs=0.5)
    assert pair.batcher.drain_s() == pytest.approx(10, abs=0.5)
    tasks += pair.begin(1)
    await pair.until_entered(2)
    assert device.free_in_s(queue, 0) == pytest.approx(10, abs=0.5)
    assert device.free_in_s(queue, 2) == pytest.approx(20, abs=0.5)
    pair.let_through()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("images", "seconds"), [(1, 10), (2, 10), (3, 20), (4, 20), (5, 30)])
async def test_who_sends_several_images_is_promised_the_time_of_the_lane_with_most(images: int, seconds: int) -> None:
    pair = Pair({1: 10.0})
    pair.begin(0)  # else whatever is not hopeless is admitted
    await pair.until_entered(1)
    with pytest.raises(ServingError) as refused:
        pair.batcher.reserve(images, Caller(), time.monotonic() + seconds - 1)
    assert refused.value.code is Code.DEADLINE
    pair.batcher.reserve(images, Caller(), time.monotonic() + seconds + 1)
    pair.let_through()


@given(busy_s=st.lists(st.floats(0, 100), min_size=1, max_size=8), work_s=st.floats(0, 1000))
def test_work_goes_to_the_lanes_that_are_free_first(busy_s: list[float], work_s: float) -> None:
    level = water_level_s(busy_s, work_s)
    assert sum(max(0.0, level - each) for each in busy_s) == pytest.approx(work_s, abs=1e-6)
    assert level >= min(busy_s) - 1e-9


def test_every_engine_of_a_choice_is_checked(demo: Path) -> None:
    queues = QueueLimits(images=8, max_wait_s=9, max_batch=8, remembered=0)

    def loader(other: type[KnowsProbe] | None) -> Loader:
        def choose(bundle: Bundle) -> Choice:
            return Choice(KnowsProbe(bundle), "", (other(bundle) if other else FakeEngine(200),), "gpu")

        return Loader(
            choose,
            {},
            Decoders(1, Threads(1, "aside"), 1 << 20, 1 << 20, exact=True),
            queues,
            Metrics(CollectorRegistry()),
        )

    assert len(loader(KnowsProbe).load(demo).choice.engines) == 2
    with pytest.raises(EngineFailed, match="fake in fp32 does not answer the bundle's probe"):
        loader(None).load(demo)


@pytest.fixture
def two_models(demo: Path, tmp_path: Path) -> Path:
    """The demo, and the same as `other`."""
    for name in ("demo", "other"):
        shutil.copytree(demo, tmp_path / name / "1")
        manifest = tmp_path / name / "1" / "manifest.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": name}))
    return tmp_path


async def test_a_batch_on_the_cpu_holds_up_none_on_the_gpus(two_models: Path) -> None:
    engines: dict[str, tuple[Held, ...]] = {}

    def choose(bundle: Bundle) -> Choice:
        name = bundle.manifest.name
        first, *others = engines[name] = tuple(Held(bundle) for _ in range(2 if name == "other" else 1))
        return Choice(first, "a test's", tuple(others), "gpu" if others else "cpu")

    async with running(two_models, choose, gpus=2, engine_limit_s=60) as server:
        for engine in (*engines["demo"], *engines["other"]):
            engine.closed = True
        ask = server.rest.classify
        on_cpu = asyncio.create_task(ask(jpeg(0), model="demo"))
        await asyncio.to_thread(engines["demo"][0].entered.wait, 20)
        on_gpus = []
        for busy in (1, 2):
            on_gpus.append(asyncio.create_task(ask(jpeg(busy), model="other")))
            while sum(engine.entered.is_set() for engine in engines["other"]) < busy:
                await asyncio.sleep(0)
        for engine in engines["other"]:
            engine.gate.release()
        assert [outcome.code for outcome in await asyncio.gather(*on_gpus)] == ["", ""]
        assert not on_cpu.done()
        engines["demo"][0].gate.release()
        assert not (await on_cpu).code
        (model,) = (await server.rest.http.get("/models/other")).json()["models"]
        assert (model["engine"]["device"], model["engine"]["copies"]) == ("gpu", 2)


async def test_a_gpu_that_hangs_ends_the_process_and_what_runs_on_the_cpu_is_answered(two_models: Path) -> None:
    engines: list[Held] = []

    def choose(bundle: Bundle) -> Choice:
        if bundle.manifest.name == "demo":
            return Choice(KnowsProbe(bundle), "")
        engines.extend(Held(bundle) for _ in range(2))
        return Choice(engines[0], "", (engines[1],), "gpu")

    async with running(two_models, choose, gpus=2, engine_limit_s=1) as server:
        for engine in engines:
            engine.closed = True
        on_gpu = asyncio.create_task(server.rest.classify(jpeg(0), model="other"))
        assert not (await server.rest.classify(jpeg(1), model="demo")).code
        assert (await on_gpu).code == "engine_failed"
        assert await server.task == HUNG
        for engine in engines:
            engine.gate.release(9)
