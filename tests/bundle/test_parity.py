"""Parity of two sets of probabilities, and the most probable classes."""

import numpy as np
import pytest

from bundle import parity, predictions
from bundle.labels import Label


def rows(*values: list[float]) -> "np.typing.NDArray[np.float32]":
    return np.array(values, dtype=np.float32)


def test_equal_probabilities_pass() -> None:
    same = rows([0.7, 0.2, 0.1], [0.1, 0.1, 0.8])
    assert parity.compare(same, same) == parity.Parity(2, 0.0, 0.0, 1.0, 1.0, 2, 1.0)


@pytest.mark.parametrize("shift", [2e-4, 1e-3, np.nan])
def test_a_shifted_probability_does_not(shift: float) -> None:
    reference = rows([0.7, 0.2, 0.1])
    other = reference + rows([shift, -shift, 0])
    assert not parity.compare(reference, other).passes()


def test_a_small_probability_that_doubles_shows_in_its_logarithm() -> None:
    reference, other = rows([0.99999, 1e-5]), rows([0.99998, 2e-5])
    found = parity.compare(reference, other)
    assert found.max_dp < parity.MAX_DP
    assert found.max_dlogp == pytest.approx(np.log(2), rel=1e-3)
    assert not found.passes()


def test_agreements_count_images() -> None:
    reference = rows([0.6, 0.4], [0.6, 0.4])
    other = rows([0.6, 0.4], [0.4, 0.6])
    found = parity.compare(reference, other)
    assert (found.top1_agreement, found.top5_agreement) == (0.5, 1.0)


def test_the_best_come_first_and_of_equals_the_lower_index() -> None:
    labels = [Label(f"n{i}", f"class {i}") for i in range(4)]
    best = predictions.top(np.array([0.1, 0.4, 0.1, 0.4], dtype=np.float32), labels, 3)
    assert [(p.index, p.id, p.label) for p in best] == [
        (1, "n1", "class 1"),
        (3, "n3", "class 3"),
        (0, "n0", "class 0"),
    ]


def test_of_sure_images_one_may_differ_and_of_many_as_many_as_the_precision_allows() -> None:
    reference = np.tile(rows([0.7, 0.2, 0.1]), (200, 1))
    unsure = rows([0.4, 0.35, 0.25])
    other = reference.copy()
    other[:4] = [0.2, 0.7, 0.1]
    found = parity.compare(np.vstack([reference, unsure]), np.vstack([other, rows([0.1, 0.1, 0.8])]))
    assert found.sure_images == 200
    assert found.sure_agreement == pytest.approx(0.98)
    assert found.passes("int8")
    assert not found.passes("bf16")
    assert not found.passes()
    few = parity.compare(reference[:32], other[3:35])
    assert few.passes("bf16")
    assert not parity.compare(reference[:32], other[2:34]).passes("int8")


def test_an_image_exactly_at_the_margin_counts_as_sure() -> None:
    found = parity.compare(rows([0.5, 0.375]), rows([0.375, 0.5]))
    assert (found.sure_images, found.sure_agreement) == (1, 0.0)


def test_the_loss_is_that_of_accuracy_with_its_interval() -> None:
    truth = np.zeros(400, dtype=np.int64)
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    reference = rows(*[right] * 300, *[wrong] * 100)
    other = rows(*[right] * 290, *[wrong] * 100, *[right] * 10)
    other[295:300] = right
    found = parity.accuracy_loss(truth, reference, other)
    before, after = 300, int((other.argmax(1) == 0).sum())
    assert (found.images, found.reference, found.accuracy) == (400, before / 400, after / 400)
    lost = int(((reference.argmax(1) == 0) & (other.argmax(1) != 0)).sum())
    gained = int(((reference.argmax(1) != 0) & (other.argmax(1) == 0)).sum())
    assert found.points == pytest.approx(100 * (lost - gained) / 400)
    half = 1.96 * np.sqrt(((lost + gained) / 400 - ((lost - gained) / 400) ** 2) / 400)
    assert found.low == pytest.approx((lost - gained) / 400 - half)
    assert found.high == pytest.approx((lost - gained) / 400 + half)


def test_answers_that_are_not_numbers_never_pass_even_without_a_sure_image() -> None:
    reference = rows([0.5, 0.5], [0.9, 0.1])
    other = rows([np.nan, np.nan], [0.9, 0.1])
    for precision in ("fp32", "fp16", "int8"):
        assert not parity.compare(reference, other).passes(precision)
        assert not parity.compare(reference[:1], other[:1]).passes(precision)
