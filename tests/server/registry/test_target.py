"""Versions share the callers of an alias: in the given parts, each caller always the same one, and monotonically."""

import json
import math
from collections import Counter
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import BundleError
from server.registry.aliases import Aliases
from server.registry.target import Share, Target, from_json

CALLERS = [f"10.0.{number // 256}.{number % 256}" for number in range(10_000)]


def split(**weights: float) -> Target:
    return Target("demo", "", tuple(Share(name[1:], weight) for name, weight in weights.items()))


def answering(target: Target, alias: str = "stable") -> dict[str, str]:
    """The version of each caller."""
    return {caller: target.preferred(alias, caller)[0] for caller in CALLERS}


@pytest.mark.parametrize("weights", [{"v3": 95, "v4": 5}, {"v3": 50, "v4": 30, "v5": 20}, {"v1": 99.9, "v2": 0.1}])
def test_of_many_callers_each_version_answers_its_part(weights: dict[str, float]) -> None:
    counts = Counter(answering(split(**weights)).values())
    z = NormalDist().inv_cdf(1 - 1e-6)
    for name, weight in weights.items():
        expected, deviation = len(CALLERS) * weight / 100, math.sqrt(len(CALLERS) * weight * (100 - weight)) / 100
        assert abs(counts[name[1:]] - expected) <= z * deviation + 1


def test_each_alias_deals_the_callers_anew() -> None:
    both = split(v3=50, v4=50)
    mine, theirs = answering(both, "stable"), answering(both, "beta")
    assert 4500 < sum(mine[caller] == theirs[caller] for caller in CALLERS) < 5500


PARTS = st.lists(st.integers(1, 1000), min_size=2, max_size=4)


@given(parts=PARTS, raised=st.integers(0, 3), by=st.integers(1, 2000), identity=st.text(max_size=20))
def test_a_larger_weight_takes_no_caller_from_its_version_and_brings_none_to_another(
    parts: list[int], raised: int, by: int, identity: str
) -> None:
    raised %= len(parts)
    more = [part + by * (at == raised) for at, part in enumerate(parts)]
    before, after = (
        Target("m", "", tuple(Share(str(at), 100 * part / sum(each)) for at, part in enumerate(each)))
        for each in (parts, more)
    )
    was, now = before.preferred("stable", identity)[0], after.preferred("stable", identity)[0]
    assert now in (was, str(raised))


@given(identity=st.text(max_size=40), parts=PARTS)
def test_a_caller_keeps_its_version_whatever_the_order_and_has_a_stand_in(identity: str, parts: list[int]) -> None:
    shares = tuple(Share(str(at), 100 * part / sum(parts)) for at, part in enumerate(parts))
    preferred = Target("m", "", shares).preferred("stable", identity)
    assert Target("m", "", shares[::-1]).preferred("stable", identity) == preferred
    assert sorted(preferred) == [share.version for share in shares]


def test_the_choice_never_changes() -> None:
    """Servers of different releases share a folder, and must agree on who gets what."""
    half = split(v1=50, v2=50)
    assert "".join(half.preferred("stable", caller)[0] for caller in CALLERS[:16]) == "2221121121222112"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "zero": ({"versions": [["3", 100], ["4", 0]]}, "weight of version 3 must be above 0 and below 100"),
    "negative": ({"versions": [["3", 105], ["4", -5]]}, "above 0 and below 100"),
    "not a number": ({"versions": [["3", math.nan], ["4", 5]]}, "above 0 and below 100"),
    "infinite": ({"versions": [["3", 50], ["4", math.inf]]}, "version 4 must be above 0"),
    "a truth": ({"versions": [["3", True], ["4", 99]]}, "version 3 must be above 0"),
    "a text": ({"versions": [["3", "95"], ["4", 5]]}, "version 3 must be above 0"),
    "too much": ({"versions": [["3", 95], ["4", 15]]}, "must add up to 100, not 110"),
    "too little": ({"versions": [["3", 50], ["4", 5]]}, "must add up to 100, not 55"),
    "one": ({"versions": [["3", 99]]}, "2 to 4 versions with their weights, not 1"),
    "five": ({"versions": [[str(each), 20] for each in range(5)]}, "2 to 4 versions with their weights, not 5"),
    "twice": ({"versions": [["3", 95], ["3", 5]]}, "one is named twice"),
    "no number": ({"versions": [["3", 95], ["newest", 5]]}, "must be the number of a version, not 'newest'"),
    "both": ({"version": "3", "versions": [["3", 95], ["4", 5]]}, "either version or versions"),
    "its own shadow": ({"version": "3", "shadow": "3"}, "version 3 cannot be the shadow of itself"),
    "a shadow that answers": ({"versions": [["3", 95], ["4", 5]], "shadow": "4"}, "cannot be the shadow of itself"),
    "a shadow without number": ({"version": "3", "shadow": "x"}, "number of a version, not 'x'"),
}


def as_json(target: dict[str, Any]) -> dict[str, Any]:
    shares = [{"version": version, "weight": weight} for version, weight in target.get("versions", [])]
    return {"model": "demo", **target, **({"versions": shares} if shares else {})}


@pytest.mark.parametrize(("target", "why"), WRONG.values(), ids=WRONG.keys())
def test_what_no_alias_can_stand_for_is_refused_with_the_reason(
    target: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=why):
        from_json(as_json(target))
    (tmp_path / "aliases.json").write_text(json.dumps({"stable": as_json(target)}))
    with pytest.raises(BundleError, match=rf"of 'stable', .*{why}.*Repair it, or remove it"):
        Aliases(tmp_path)


TARGETS = (
    Target("demo"),
    Target("demo", "3"),
    Target("demo", "3", shadow="4"),
    split(v3=95, v4=5),
    Target("demo", "", (Share("3", 99.5), Share("4", 0.5)), "5"),
)


def test_what_is_written_is_read_again_and_plain_aliases_are_as_they_were(tmp_path: Path) -> None:
    aliases = Aliases(tmp_path)
    for at, target in enumerate(TARGETS):
        assert aliases.set(f"alias-{at}", target)
    assert tuple(Aliases(tmp_path).all().values()) == TARGETS
    written = json.loads((tmp_path / "aliases.json").read_text())
    assert written["alias-1"] == {"model": "demo", "version": "3"}
    assert written["alias-3"]["versions"] == [{"version": "3", "weight": 95}, {"version": "4", "weight": 5}]


def test_files_of_earlier_releases_are_read(tmp_path: Path) -> None:
    (tmp_path / "aliases.json").write_text('{"stable": {"model": "demo", "version": "1"}, "newest": {"model": "demo"}}')
    assert Aliases(tmp_path).all() == {"stable": Target("demo", "1"), "newest": Target("demo")}
