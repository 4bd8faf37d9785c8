"""Intervals hold what they promise, and are those of the articles they are taken from."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.comparing.intervals import chance, difference, mean, quantile, share, wilson


def test_wilson_gives_the_published_interval() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3: 81 of 263."""
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_the_difference_gives_the_published_interval() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, method 10: 56 of 70 against 48 of 80."""
    found = difference(56, 70, 48, 80)
    assert (round(found.value, 4), round(found.low, 4), round(found.high, 4)) == (0.2, 0.0524, 0.3339)


@given(of=st.integers(1, 10_000), part=st.floats(0, 1))
def test_a_share_lies_in_its_interval(of: int, part: float) -> None:
    found = share(round(of * part), of)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("wanted", [0.1, 0.5, 0.9])
def test_nineteen_of_twenty_intervals_hold_the_true_share(wanted: float) -> None:
    drawn = random.Random(1)
    held = 0
    for _ in range(1000):
        found = share(sum(drawn.random() < wanted for _ in range(100)), 100)
        held += found.low <= wanted <= found.high
    assert 920 <= held <= 985


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    drawn = random.Random(1)
    held = 0
    for _ in range(1000):
        values = [drawn.gauss(3, 2) for _ in range(50)]
        found = mean(50, sum(values), sum(value * value for value in values))
        assert found
        held += found.low <= 3 <= found.high
    assert 920 <= held <= 975


def test_chance_is_the_exact_binomial_tail() -> None:
    assert chance(9, 10, 0.5) == pytest.approx(2 * 11 / 1024)
    assert chance(1, 10, 0.5) == pytest.approx(2 * 11 / 1024)
    assert chance(5, 10, 0.5) == chance(0, 0, 0.5) == 1
    assert chance(3, 3, 0.05) == pytest.approx(2 * 0.05**3)


def test_of_one_value_nothing_is_known() -> None:
    assert mean(1, 5.0, 25.0) is None


EDGES = (1.0, 2.0, 4.0, 8.0)


def test_a_quantile_is_interpolated_in_its_bucket_and_lies_between_edges() -> None:
    found = quantile(EDGES, [0, 100, 0, 0, 0], 0.5)
    assert found and (found.value, found.low, found.high) == (1.5, 1.0, 2.0)


def test_what_is_above_the_last_edge_counts_as_there() -> None:
    found = quantile(EDGES, [0, 0, 0, 0, 3], 0.99)
    assert found and (found.value, found.low, found.high) == (8.0, 8.0, 8.0)
    assert quantile(EDGES, [0] * 5, 0.5) is None


@given(counts=st.lists(st.integers(0, 50), min_size=5, max_size=5), wanted=st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_its_interval(counts: list[int], wanted: float) -> None:
    found = quantile(EDGES, counts, wanted)
    assert (found is None) == (not sum(counts))
    assert found is None or found.low <= found.value <= found.high
