"""Requests, leavers, deadlines, faults, reloads and the drain in any order: every caller gets its own outcome."""

import asyncio
import random
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from PIL import Image
from prometheus_client import CollectorRegistry

from bundle import files, parity
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.answers import Answer, Classified
from server.decoding.decoders import Decoders
from server.engines.choice import Choice
from server.errors import Code, ServingError
from server.lifecycle import Lifecycle, Phase
from server.metrics import Metrics
from server.registry.loader import Loaded, Loader, QueueLimits, ReadyModel
from server.registry.repository import Repository
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller, Priority
from server.scheduling.threads import Threads
from server.service import Classifier, Limits, RequestOptions
from tests.support.faces import FakeEngine
from tests.support.pictures import encoded

DEMO = Path(__file__).parents[3] / "model_repository" / "demo" / "1"
CLASSES = 200
LIMITS = Limits(1 << 20, 1 << 20, max_images=8, default_timeout_s=600, max_timeout_s=600)
FAULTS = ("raise", "short", "nan")


def photo(number: int) -> bytes:
    return encoded(Image.fromarray(np.full((64, 64, 3), number, np.uint8)), "PNG")


class Stepped:
    """Runs a batch when let through, with the outcome that is next in line; None is a good one."""

    name, precision = "stepped", "fp32"

    def __init__(self) -> None:
        self.open = False
        self.outcomes: deque[str | None] = deque()
        self.changed = threading.Condition()
        self._good = FakeEngine(CLASSES)

    def let_through(self, outcome: str | None) -> None:
        with self.changed:
            self.outcomes.append(outcome)
            self.changed.notify_all()

    def release(self) -> None:
        with self.changed:
            self.open = True
            self.changed.notify_all()

    def run(self, pixels: Pixels) -> Probabilities:
        with self.changed:
            assert self.changed.wait_for(lambda: self.open or self.outcomes, timeout=20)
            outcome = self.outcomes.popleft() if self.outcomes else None
        if outcome == "raise":
            raise OSError("the device is gone")
        rows = self._good.run(pixels)
        if outcome == "nan":
            rows[0] = np.nan
        return rows[1:] if outcome == "short" else rows


@dataclass(eq=False)
class Asked:
    task: "asyncio.Task[Classified]"
    numbers: list[int | None]  # None: no image
    left: bool = False


class Registry:
    """A repository of one model, whose version is replaced as the deployer does it."""

    def __init__(self, loader: Loader, loaded: Loaded) -> None:
        self._loader, self._loaded = loader, loaded
        self.all = [loader.serve(loaded)]
        self.retiring: list[asyncio.Task[None]] = []

    def pick(self, model: str, version: str, identity: str | None = None) -> ReadyModel:
        return self.all[-1][0]

    def reload(self) -> None:
        _, old = self.all[-1]
        self.all.append(self._loader.serve(self._loaded))
        self.retiring.append(asyncio.create_task(old.retire()))


class Serving(RuleBasedStateMachine):
    @initialize(
        permits=st.integers(4, 24),
        max_batch=st.sampled_from([1, 2, 4]),
        remembered=st.sampled_from([0, 2]),
        lanes=st.sampled_from([1, 2]),
    )
    def start(self, permits: int, max_batch: int, remembered: int, lanes: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.asked: list[Asked] = []
        self.faults = 0
        self.lifecycle = Lifecycle()
        self.lifecycle.advance(Phase.SERVING)
        self.loop.run_until_complete(self._start(permits, max_batch, remembered, lanes))

    async def _start(self, permits: int, max_batch: int, remembered: int, lanes: int) -> None:
        self.engine, self.metrics = Stepped(), Metrics(CollectorRegistry())
        decoders, device = Decoders(2, Threads(1, "aside"), 1 << 20, 1 << 20, exact=True), Device("test", lanes)
        queues = QueueLimits(permits, max_wait_s=1000, max_batch=max_batch, remembered=remembered)
        choice = Choice(self.engine, "", (self.engine,) * (lanes - 1))
        loader = Loader(lambda bundle: choice, {"cpu": device}, decoders, queues, self.metrics)
        bundle = files.read(DEMO)
        same = parity.compare(bundle.probe.probabilities, bundle.probe.probabilities)
        seconds = {size: 1e-6 for size in (1, 2, 4) if size <= max_batch}
        self.models = Registry(loader, Loaded(bundle, choice, same, seconds))
        self.classifier = Classifier(cast(Repository, self.models), decoders, self.lifecycle, LIMITS)

    def step(self, seconds: float = 0.0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule(
        numbers=st.lists(st.one_of(st.none(), st.integers(0, 5)), min_size=1, max_size=4),
        priority=st.sampled_from(list(Priority)),
        timeout_s=st.sampled_from([0.02, 60, 60, 60]),
        patient=st.booleans(),
    )
    def ask(self, numbers: list[int | None], priority: Priority, timeout_s: float, patient: bool) -> None:
        numbers = numbers[:1] if patient else numbers  # streams ask for one image at a time
        photos = [b"no image" if number is None else photo(number) for number in numbers]

        async def begin() -> None:
            wish = RequestOptions(self.loop.time() + timeout_s, Caller(priority), patient=patient)
            task = asyncio.create_task(self.classifier.classify(photos, wish))
            self.asked.append(Asked(task, numbers))

        self.loop.run_until_complete(begin())
        self.step()

    @rule(chance=st.integers(0, 1000))
    def leave(self, chance: int) -> None:
        waiting = [asked for asked in self.asked if not asked.task.done()]
        if not waiting:  # no precondition: who still waits is a matter of time, and rules must be drawn alike each time
            return
        leaver = random.Random(chance).choice(waiting)
        leaver.left = True
        leaver.task.cancel()
        self.step()

    @rule(outcome=st.sampled_from([None, None, None, *FAULTS]))
    def one_batch(self, outcome: str | None) -> None:
        self.faults += outcome is not None
        self.engine.let_through(outcome)
        self.step(0.002)

    @rule()
    def time_passes(self) -> None:
        self.step(0.025)

    @rule()
    def reload(self) -> None:
        async def reload() -> None:
            self.models.reload()

        self.loop.run_until_complete(reload())

    @rule()
    def drain(self) -> None:
        self.lifecycle.advance(Phase.DRAINING)

    @invariant()
    def no_permit_is_lost_or_made(self) -> None:
        if hasattr(self, "models"):
            for _, batcher in self.models.all:
                assert 0 <= batcher.admission.taken <= 24

    def teardown(self) -> None:
        if not hasattr(self, "models"):
            return
        self.engine.release()
        self.loop.run_until_complete(self._end())
        self.loop.close()

    async def _end(self) -> None:
        if self.asked:
            _, hanging = await asyncio.wait([asked.task for asked in self.asked], timeout=20)
            assert not hanging
        for _, batcher in self.models.all:
            await asyncio.wait_for(batcher.admission.idle(), 20)
        await asyncio.wait_for(asyncio.gather(*self.models.retiring), 20)
        for asked in self.asked:
            self.judge(asked)
        await asyncio.sleep(0)
        assert self.counted("sesame_admitted") == self.counted("sesame_images")

    def judge(self, asked: Asked) -> None:
        if asked.task.cancelled():
            assert asked.left
            return
        error = asked.task.exception()
        if error is not None:
            assert isinstance(error, ServingError)
            assert error.code in {Code.QUEUE_FULL, Code.DEADLINE, Code.DRAINING, Code.ENGINE_FAILED}
            assert error.code is not Code.ENGINE_FAILED or self.faults
            return
        outcomes = asked.task.result().outcomes
        assert len(outcomes) == len(asked.numbers)
        for number, outcome in zip(asked.numbers, outcomes, strict=True):
            if number is None:
                assert isinstance(outcome, ServingError)
                assert outcome.code is Code.UNSUPPORTED_TYPE
            else:
                assert isinstance(outcome, Answer)
                assert outcome.predictions[0].index == number

    def counted(self, name: str) -> float:
        families = {family.name: family for family in self.metrics.registry.collect()}
        return sum(sample.value for sample in families[name].samples if sample.name == f"{name}_total")


TestServing = Serving.TestCase
TestServing.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
