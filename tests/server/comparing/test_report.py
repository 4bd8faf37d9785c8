"""What is concluded from counts, in a sentence: neither more nor less than they say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from server.comparing.agreement import Agreement, order
from server.comparing.counted import Counted, CountedPair, CountedVersion, counted
from server.comparing.report import Report, report
from server.comparing.usage import EDGES_S
from server.registry.target import Share, Target

CANARY = Target("demo", "", (Share("3", 95), Share("4", 5)))
SHADOW = Target("demo", "3", shadow="4")


def version(answered: int, failed: int = 0, **top1: int) -> CountedVersion:
    outcomes = {"ok": float(answered), "engine_failed": float(failed), "bad_image": 7.0}
    return CountedVersion(outcomes, {name: float(count) for name, count in top1.items()})


def concluded(main: CountedVersion, canary: CountedVersion) -> str:
    (found,) = report_of(CANARY, Counted({"3": main, "4": canary}, {})).canaries
    return found.conclusion


def report_of(target: Target, found: Counted) -> Report:
    return report("stable", target, found, {"cat": "a cat", "dog": "a dog"}, {})


def test_the_share_of_agreement_and_its_interval_are_told() -> None:
    pair = CountedPair({"compared": 812, "failed": 0, "passed_over": 9}, {"top1": 791, "top5": 811}, {})
    pair.sums = {(what, moment): 0.0 for what in ("delta_log_p", "answer", "shadow") for moment in ("sum", "squares")}
    (found,) = report_of(SHADOW, Counted({}, {("3", "4"): pair})).shadows
    assert found.conclusion == "On 812 photos versions 3 and 4 name the same class for 97.4 % (96.1 to 98.3)."


@pytest.mark.parametrize(
    ("main", "canary", "told"),
    [
        (version(1900, 2, cat=950, dog=950), version(100, 9, cat=50, dog=50), "it fails more often, by 8.2 points"),
        (
            version(1900, 400, cat=950, dog=950),
            version(900, 1, cat=450, dog=450),
            "it fails less often, by -17.3",
        ),
        (version(1900, 2, cat=950, dog=950), version(100, 0, cat=50, dog=50), "no difference in failures is seen"),
        (version(1900, cat=950, dog=950), version(100, cat=50, dog=50), "no difference in the classes that they name"),
        (version(1900, cat=950, dog=950), version(100, cat=10, dog=90), "it names 'a cat' less often, by -40.0 points"),
        (version(1900, cat=950, dog=950), version(0), "Nothing can be concluded: version 4 has answered no photo yet"),
    ],
)
def test_a_difference_is_told_only_where_the_interval_excludes_none(
    main: CountedVersion, canary: CountedVersion, told: str
) -> None:
    assert told in concluded(main, canary)


@pytest.mark.parametrize(("classes", "sizes"), [(200, (9500, 500)), (50, (9500, 500)), (1000, (95_000, 5000))])
def test_among_many_classes_chance_alone_is_no_difference(classes: int, sizes: tuple[int, int]) -> None:
    """The largest of many differences of equal versions is large."""
    rng = np.random.default_rng(1)
    told = 0
    for _ in range(60):
        main, canary = (
            version(size, **{f"c{at}": int(n) for at, n in enumerate(rng.multinomial(size, [1 / classes] * classes))})
            for size in sizes
        )
        told += "it names" in concluded(main, canary)
    assert told <= 6


def test_rows_are_compared_by_class_and_not_by_output() -> None:
    mine, theirs = ["cat", "dog", "owl"], ["owl", "cat", "dog"]
    at = order(mine, theirs)
    assert at is not None
    agreement, answer = Agreement(), row(0.7, 0.2, 0.1)
    agreement.add(answer, row(0.1, 0.7, 0.2)[at], 0.1, 0.2)
    assert (agreement.top1, agreement.delta_log_p.total) == (1, 0)
    agreement.add(answer, row(0.1, 0.7, 0.2), 0.1, 0.2)
    assert (agreement.compared, agreement.top1) == (2, 1)
    assert order(mine, ["owl", "cat"]) is None and order(mine, ["owl", "cat", "fox"]) is None


def row(*probabilities: float) -> NDArray[np.float32]:
    return np.array(probabilities, np.float32)


def test_the_best_class_of_each_must_be_among_the_five_of_the_other() -> None:
    agreement, falling = Agreement(), row(0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05)
    agreement.add(falling, row(0.2, 0.3, 0.15, 0.12, 0.1, 0.08, 0.05), 0.1, 0.1)
    agreement.add(falling, falling[::-1], 0.1, 0.1)
    assert (agreement.top1, agreement.top5) == (0, 1)


def test_a_probability_of_nothing_is_no_infinite_difference() -> None:
    agreement = Agreement()
    agreement.add(row(1.0, 0.0), row(0.0, 1.0), 0.1, 0.1)
    assert -30 < agreement.delta_log_p.total < -20


def test_only_the_alias_that_is_asked_for_is_read() -> None:
    text = (
        'sesame_canary_images_total{alias="stable",model="m",outcome="ok",version="3"} 5.0\n'
        'sesame_canary_images_total{alias="beta",model="m",outcome="ok",version="3"} 9.0\n'
        f'sesame_canary_seconds_bucket{{alias="stable",le="{EDGES_S[3]!r}",model="m",version="3"}} 4.0\n'
        'sesame_canary_seconds_bucket{alias="stable",le="+Inf",model="m",version="3"} 5.0\n'
        "sesame_requests_total 3.0\n"
    )
    found = counted(text, "stable").versions
    assert found.keys() == {"3"} and found["3"].outcomes == {"ok": 5}
