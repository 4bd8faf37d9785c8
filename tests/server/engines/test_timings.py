"""The size of batches is measured so that noise does not choose it, and remembered."""

import json
import math
from pathlib import Path

import pytest

from bundle import files
from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines import batch_size
from server.engines.measurements import MeasurementCache
from server.engines.timings import Timings
from tests.support.clock import Clock, of_measurements
from tests.support.faces import KnowsProbe


@pytest.fixture
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


class Paced(KnowsProbe):
    """Takes `cost_s` an image, in batches of that size, on a clock of its own; `disturbed` lengthens each run."""

    def __init__(self, bundle: Bundle, clock: Clock, cost_s: dict[int, float]) -> None:
        super().__init__(bundle)
        self.clock = clock
        self.cost_s = cost_s
        self.disturbed = 1.0
        self.runs: list[int] = []

    def run(self, pixels: Pixels) -> Probabilities:
        self.runs.append(len(pixels))
        self.clock.now_s += self.cost_s[len(pixels)] * len(pixels) * self.disturbed
        return super().run(pixels)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return of_measurements(monkeypatch)


def flat(**others: float) -> dict[int, float]:
    return {1: 1e-3, 2: 1e-3, 4: 1e-3, 8: 1e-3} | {int(size.strip("_")): cost for size, cost in others.items()}


def test_of_equals_the_largest_is_taken_and_a_better_one_of_all() -> None:
    assert batch_size.best_batch({1: 1.0, 2: 2.0, 4: 4.0 * 1.04}) == 4
    assert batch_size.best_batch({1: 1.0, 2: 2.0, 4: 4.0 * 1.06}) == 2
    assert batch_size.best_batch({1: 2.0, 2: 2.0, 4: 8.0}) == 2


def test_the_size_that_was_chosen_stays_unless_another_is_better_by_more_than_a_tenth() -> None:
    assert batch_size.best_batch({1: 1.0, 2: 2.0, 4: 4.0}, kept=1) == 1
    assert batch_size.best_batch({1: 1.09, 2: 2.0, 4: 4.0}, kept=1) == 1
    assert batch_size.best_batch({1: 1.11, 2: 2.0, 4: 4.0}, kept=1) == 4
    assert batch_size.best_batch({1: 1.0, 2: 2.0}, kept=4) == 2  # no longer allowed


def test_every_size_is_timed_over_as_many_images(bundle: Bundle, clock: Clock) -> None:
    engine = Paced(bundle, clock, flat())
    assert batch_size.time_batches(engine, bundle.probe.pixels, 8) == pytest.approx(
        {1: 1e-3, 2: 2e-3, 4: 4e-3, 8: 8e-3}
    )
    one_round = [1] * 8 + [2] * 4 + [4] * 2 + [8]
    assert engine.runs[-len(one_round) :] == one_round


def test_no_size_takes_longer_than_an_eighth_of_a_second(bundle: Bundle, clock: Clock) -> None:
    slow = Paced(bundle, clock, dict.fromkeys((1, 2, 4, 8), 0.05))
    assert batch_size.time_batches(slow, bundle.probe.pixels, 8).keys() == {1, 2}
    slow.disturbed = 2
    assert batch_size.time_batches(slow, bundle.probe.pixels, 8).keys() == {1}
    assert batch_size.time_batches(slow, bundle.probe.pixels, 8, one_s=0.05).keys() == {1, 2}


def test_noise_at_a_later_load_does_not_change_the_size(bundle: Bundle, clock: Clock, tmp_path: Path) -> None:
    timings = Timings(MeasurementCache(tmp_path / "batches.json"), threads=2)
    assert max(timings.measure(Paced(bundle, clock, flat()), bundle, 8)) == 8
    noisy = Paced(bundle, clock, flat(_2=3e-3, _4=4e-3, _8=5e-3))
    assert max(batch_size.measure(noisy, bundle.probe.pixels, 8)) == 1
    now = timings.measure(noisy, bundle, 8)
    assert now == pytest.approx({1: 1e-3, 2: 6e-3, 4: 16e-3, 8: 40e-3})  # the times of today, the size of all times


def test_noise_at_the_first_load_is_forgotten_at_the_next(bundle: Bundle, clock: Clock, tmp_path: Path) -> None:
    timings = Timings(MeasurementCache(tmp_path / "batches.json"), threads=2)
    assert max(timings.measure(Paced(bundle, clock, flat(_2=3e-3, _4=4e-3, _8=5e-3)), bundle, 8)) == 1
    quiet = Paced(bundle, clock, {1: 1e-3, 2: 0.8e-3, 4: 0.7e-3, 8: 0.7e-3})
    assert max(timings.measure(quiet, bundle, 8)) == 8


def test_other_threads_graphs_and_engines_are_remembered_apart(bundle: Bundle, clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "batches.json"
    engine = Paced(bundle, clock, flat())
    Timings(MeasurementCache(path), threads=2).measure(engine, bundle, 8)
    Timings(MeasurementCache(path), threads=2).measure(engine, bundle, 8)
    Timings(MeasurementCache(path), threads=4).measure(engine, bundle, 8)
    Timings(MeasurementCache(path), threads=4, gpus=("a fake",)).measure(engine, bundle, 8)
    engine.precision = "int8"
    Timings(MeasurementCache(path), threads=2).measure(engine, bundle, 8)
    assert len(json.loads(path.read_text())) == 4


@pytest.mark.parametrize(
    "numbers", [{"best": math.nan, "1": 0.0, "2": -1.0}, {"x": 1.0, "best": 1e300}, {"1": math.inf}]
)
def test_damaged_numbers_are_passed_over(
    numbers: dict[str, float], bundle: Bundle, clock: Clock, tmp_path: Path
) -> None:
    remembered = MeasurementCache(tmp_path / "batches.json")
    timings, engine = Timings(remembered, threads=2), Paced(bundle, clock, flat())
    timings.measure(engine, bundle, 8)
    (key,) = json.loads((tmp_path / "batches.json").read_text())
    remembered.put(key, numbers)
    assert max(timings.measure(engine, bundle, 8)) == 8
