"""A shadow computes for its share of the time, one picture at a time, and rests for longer after failures."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from bundle import files
from server.comparing.agreement import Agreement, Pair
from server.comparing.shadows import Shadows
from server.metrics import Metrics
from server.registry.loader import ReadyModel
from server.registry.repository import Repository
from server.scheduling.batch import Row
from server.shadow.shadow_process import ShadowFailed, ShadowProcess
from server.shadow.wire import Computed, Job, Open, Opened, Reply, described
from tests.support.gate import Gate, batcher_of
from tests.support.seam import Versions
from tests.support.versions import publish_two

pytestmark = pytest.mark.anyio

PAIR = Pair("stable", "demo", "1", "2")
PICTURE = np.zeros((64, 64, 3), np.uint8)


class Scripted(ShadowProcess):
    """Takes as long as it is told, on a clock of its own."""

    def __init__(self, demo: Path) -> None:
        super().__init__(1.0)
        self.now_s = 0.0
        self.takes_s = 1.0
        self.fails = False
        self.computed = 0
        self._bundle = files.read(demo)
        self._is_open = False

    @property
    def running(self) -> bool:
        return self._is_open

    async def run(self, job: Job) -> Reply:
        await asyncio.sleep(0)
        if self.fails:
            raise ShadowFailed("it was told so")
        if isinstance(job, Open):
            self._is_open = True
            labels = [label.id for label in self._bundle.labels]
            return Opened(labels, described(self._bundle.manifest.preprocessing), "fake", "fp32")
        self.now_s += self.takes_s
        self.computed += 1
        return Computed(self._bundle.probe.probabilities[0].tobytes(), self.takes_s)


class Scene:
    def __init__(self, root: Path, demo: Path, share: float) -> None:
        self.process = Scripted(demo)
        catalogue = Repository(root, "", Metrics(CollectorRegistry()))
        self.shadows = Shadows(catalogue, self.process, share, lambda: self.process.now_s, lambda: 1.0)
        self.agreement = Agreement()
        self._ready = ready_model()
        self._row = Row(files.read(demo).probe.probabilities[0], 0.0, 0.1, 1)

    async def offer(self) -> None:
        self.shadows.offer(PAIR, self._ready, PICTURE, self._row, self.agreement)
        for _ in range(4):
            await asyncio.sleep(0)


def ready_model() -> ReadyModel:
    versions = Versions()
    number = versions.add(batcher_of(Gate().run, permits=1, max_batch=1))
    return versions.loads[number][0]


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Iterator[Path]:
    yield publish_two(demo, tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
async def test_it_computes_for_its_share_of_the_time(share: float, root: Path, demo: Path) -> None:
    scene = Scene(root, demo, share)
    while scene.process.now_s < 1000:
        await scene.offer()
        scene.process.now_s += 0.1
    assert scene.process.computed == pytest.approx(1000 * share, rel=0.15)
    assert scene.agreement.compared == scene.process.computed


async def test_pictures_are_passed_over_while_one_is_computed(root: Path, demo: Path) -> None:
    scene = Scene(root, demo, 1.0)
    for _ in range(5):
        scene.shadows.offer(PAIR, scene._ready, PICTURE, scene._row, scene.agreement)
    assert scene.agreement.passed_over == 4
    await scene.offer()
    assert scene.agreement.compared == 1


async def test_after_failures_in_a_row_it_rests_for_longer_and_longer(root: Path, demo: Path) -> None:
    scene = Scene(root, demo, 1.0)
    scene.process.fails = True
    tried = []
    while scene.process.now_s < 2000:
        before = scene.agreement.failed
        await scene.offer()
        if scene.agreement.failed > before:
            tried.append(scene.process.now_s)
        scene.process.now_s += 1
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert pauses[:5] == [2, 4, 8, 16, 32] and max(pauses) <= 301
    assert scene.shadows.fault(PAIR) == "it was told so"
    scene.process.fails = False
    scene.process.now_s += 400
    await scene.offer()
    assert (scene.agreement.compared, scene.shadows.fault(PAIR)) == (1, "")
