"""Statistics of gates: those of NumPy over all photos at once, and a share between classes that chance explains."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.manifest import SEBlockRow
from export.excitation.statistics import BlockStatistics, Sums

BLOCK = SEBlockRow("layer1.0", 6, 2, "sigmoid")


def statistics(gates: NDArray[np.float32], classes: list[int]) -> BlockStatistics:
    sums = Sums(BLOCK, max(classes) + 1)
    for start in range(0, len(gates), 7):
        sums.add(gates[start : start + 7], classes[start : start + 7])
    return sums.statistics()


def test_they_are_those_over_all_photos_at_once() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, 100).tolist()
    gates = random.random((100, 6)).astype(np.float32)
    found = statistics(gates, classes)
    np.testing.assert_allclose(found.mean, gates.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.deviation, gates.std(0), rtol=1e-5)
    for number in range(4):
        own = gates[np.array(classes) == number]
        np.testing.assert_allclose(found.class_mean[number], own.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found.class_deviation[number], own.std(0), rtol=1e-5)


def test_gates_that_follow_the_class_are_specific_and_equal_ones_are_not() -> None:
    classes = [number % 5 for number in range(50)]
    by_class = np.repeat(np.array(classes, np.float32)[:, np.newaxis] / np.float32(5), 6, axis=1)
    assert statistics(by_class, classes).specificity == pytest.approx(1)
    assert statistics(by_class, classes).above_chance == pytest.approx(1)
    assert statistics(np.full((50, 6), 0.5, np.float32), classes).specificity == 0


def test_of_gates_that_ignore_the_class_only_chance_is_left() -> None:
    random = np.random.default_rng(1)
    gates = random.random((2000, 6)).astype(np.float32)
    found = statistics(gates, [number % 200 for number in range(2000)])
    assert found.chance == pytest.approx(199 / 1999)
    assert abs(found.above_chance) < 0.02
    assert abs(found.specificity - found.chance) < 0.02
