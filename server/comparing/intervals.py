"""Intervals: how far what was counted or measured may be from the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, floor, lgamma, log, log1p, sqrt
from statistics import NormalDist

CONFIDENCE = 0.95
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, and the ends of its interval."""

    value: float
    low: float
    high: float


def wilson(hits: float, of: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a binomial share, both ends within 0..1; `of` must be at least 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212; as equation (4) of Brown, Cai and DasGupta, "Interval estimation for a
    binomial proportion", Statistical Science 16 (2001), 101-133, who recommend it over the usual one.
    """
    z = _z(confidence)
    share, shrink = hits / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / shrink
    reach = z / shrink * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def share(hits: float, of: float) -> Estimate:
    """A share with Wilson's interval; `of` must be at least 1."""
    (low, high), value = wilson(hits, of), hits / of
    return Estimate(value, min(low, value), max(high, value))  # rounding may put an end on the wrong side


def difference(hits: float, of: float, other_hits: float, other_of: float, confidence: float = CONFIDENCE) -> Estimate:
    """The first share minus the second, of independent counts; both `of` must be at least 1.

    R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17
    (1998), 873-890, method 10: Wilson's intervals of both.
    """
    first, second = hits / of, other_hits / other_of
    (low, high), (other_low, other_high) = wilson(hits, of, confidence), wilson(other_hits, other_of, confidence)
    return Estimate(
        first - second,
        first - second - sqrt((first - low) ** 2 + (other_high - second) ** 2),
        first - second + sqrt((high - first) ** 2 + (second - other_low) ** 2),
    )


def chance(hits: int, of: int, expected: float) -> float:
    """How likely a count at least so far from what is expected is by chance: the exact two-sided binomial test, twice
    the smaller tail, at most 1.

    For a class that two versions named `of` times together, and one of them `hits` times, `expected` is that version's
    part of all answers (J. Przyborowski and H. Wilenski, Biometrika 31 (1940), 313-323).
    """
    if not of:
        return 1.0
    tails = (_tail(hits, of, expected), _tail(of - hits, of, 1 - expected))
    return min(1.0, 2 * min(tails))


def _tail(hits: int, of: int, expected: float) -> float:
    """The probability of at least so many hits; 1 where so many are expected, so that few terms are summed."""
    if hits <= of * expected:
        return 1.0
    log_first = lgamma(of + 1) - lgamma(hits + 1) - lgamma(of - hits + 1)
    term = exp(log_first + hits * log(expected) + (of - hits) * log1p(-expected))
    total, odds = term, expected / (1 - expected)
    for count in range(hits, of):
        term *= (of - count) / (count + 1) * odds
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return total


def mean(count: float, total: float, squares: float) -> Estimate | None:
    """The mean of so many values with this sum and sum of squares, and its normal interval; None of fewer than two."""
    if count < 2:
        return None
    middle = total / count
    variance = max(0.0, (squares - total * middle) / (count - 1))
    reach = _z(CONFIDENCE) * sqrt(variance / count)
    return Estimate(middle, middle - reach, middle + reach)


def quantile(edges: Sequence[float], counts: Sequence[float], wanted: float) -> Estimate | None:
    """A quantile of values that were counted by their bucket, and the interval of its order statistics.

    `counts[i]`: of values up to `edges[i]` and above the edge before; the last of `counts` has no edge. The quantile is
    interpolated in its bucket; the ends are edges, so the interval is never too narrow. None where nothing was counted.
    """
    of = sum(counts)
    if not of:
        return None
    rank, reach = of * wanted, _z(CONFIDENCE) * sqrt(of * wanted * (1 - wanted))
    low, _ = _bucket(edges, counts, max(0, floor(rank - reach)))
    _, high = _bucket(edges, counts, min(of, ceil(rank + reach)))
    below = 0.0
    for at, count in enumerate(counts):
        if count and below + count >= rank:
            start, end = _ends(edges, at)
            return Estimate(start + (end - start) * (rank - below) / count, low, high)
        below += count
    raise AssertionError("the rank is at most the sum. This is a bug.")


def _bucket(edges: Sequence[float], counts: Sequence[float], rank: float) -> tuple[float, float]:
    """The ends of the bucket that has the value of this rank."""
    below = 0.0
    for at, count in enumerate(counts):
        below += count
        if count and below >= rank:
            return _ends(edges, at)
    return _ends(edges, len(counts) - 1)


def _ends(edges: Sequence[float], at: int) -> tuple[float, float]:
    """What is above the last edge counts as at that edge."""
    return (edges[at - 1] if at else 0.0), edges[min(at, len(edges) - 1)]


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
