"""Engines are checked, not trusted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bundle import files
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines import engine, probe_check
from server.engines.engine import EngineFailed
from tests.support.faces import FakeEngine, choose

PIXELS = np.zeros((4, 2, 2, 3), dtype=np.uint8)


def _raises(pixels: Pixels, rows: Probabilities) -> Probabilities:
    raise OSError("no device")


def _nan(pixels: Pixels, rows: Probabilities) -> Probabilities:
    rows[-1, -1] = np.nan
    return rows


FAULTS: dict[str, tuple[Callable[[Pixels, Probabilities], Probabilities], str]] = {
    "raises": (_raises, "fake raised OSError$"),
    "a row short": (lambda pixels, rows: rows[:-1], r"answered \(3, 10\) to 4 images of 10 classes"),
    "a row more": (lambda pixels, rows: np.vstack([rows, rows[:1]]), r"answered \(5, 10\)"),
    "a class short": (lambda pixels, rows: rows[:, :-1], r"answered \(4, 9\)"),
    "NaN": (_nan, "not finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_no_answer_is_engine_failed(fault: str) -> None:
    answer, message = FAULTS[fault]
    assert engine.run_checked(FakeEngine(10), PIXELS, 10).shape == (4, 10)
    with pytest.raises(EngineFailed, match=message):
        engine.run_checked(FakeEngine(10, answer), PIXELS, 10)


@pytest.mark.parametrize("max_batch", [1, 5, 32])
def test_the_demo_keeps_its_probe_in_every_batch_size(demo: Path, max_batch: int) -> None:
    bundle = files.read(demo)
    assert probe_check.check(choose(bundle).engine, bundle.probe, max_batch).images == 32


def test_an_engine_that_answers_something_else_is_not_taken(demo: Path) -> None:
    bundle = files.read(demo)
    with pytest.raises(EngineFailed, match=r"does not answer the bundle's probe.*max \|Δp\|"):
        probe_check.check(FakeEngine(200), bundle.probe, 8)


def test_answers_do_not_depend_on_batch_mates(demo: Path) -> None:
    bundle = files.read(demo)
    engine = choose(bundle).engine
    together = engine.run(bundle.probe.pixels)
    alone = np.concatenate([engine.run(image[None]) for image in bundle.probe.pixels])
    assert np.abs(together - alone).max() < 1e-5
