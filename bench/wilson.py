"""Wilson's interval: how far a share that was counted may be from the true one."""

from math import sqrt
from statistics import NormalDist


def interval(hits: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a binomial share, both ends within 0..1; `of` must be at least 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212; as equation (4) of Brown, Cai and DasGupta, "Interval estimation for a
    binomial proportion", Statistical Science 16 (2001), 101-133, who recommend it over the usual one.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, shrink = hits / of, 1 + z * z / of
    middle = (share + z * z / (2 * of)) / shrink
    reach = z / shrink * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)
