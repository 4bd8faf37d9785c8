"""Report: what can be concluded of an alias's versions from what was counted of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.comparing.counted import Counted, CountedPair, CountedVersion
from server.comparing.intervals import CONFIDENCE, Estimate, chance, difference, mean, quantile, share
from server.comparing.usage import EDGES_S, OTHER_CLASSES
from server.errors import Code
from server.metrics import OK
from server.registry.target import Target

_SHIFTS = 5  # classes with the largest differences that are shown
_FAILURES = (Code.ENGINE_FAILED, Code.INTERNAL, Code.DEADLINE)
"""Outcomes that may be a version's fault. A bad photo is not, nor a client that leaves."""


@dataclass(frozen=True)
class ShadowReport:
    """Of photos that both versions computed. `fault`: why the last one could not be compared; may be empty."""

    version: str
    shadow: str
    photos: int
    passed_over: int
    failed: int
    fault: str
    conclusion: str
    top1_agreement: Estimate | None
    top5_agreement: Estimate | None
    delta_log_p: Estimate | None
    infer_ms: Estimate | None
    shadow_infer_ms: Estimate | None


@dataclass(frozen=True)
class VersionReport:
    """Of the callers of one version. Times are from decoded pixels to the answer."""

    version: str
    weight: float
    images: int
    failures: Estimate | None
    p50_ms: Estimate | None
    p95_ms: Estimate | None
    p99_ms: Estimate | None


@dataclass(frozen=True)
class ClassShift:
    """The share of a class among the answers of the version with most callers, and of another one; the other's minus
    the first's. `clear`: not to be explained by chance, though the largest of many differences is looked at.
    """

    id: str
    label: str
    share: float
    other_share: float
    difference: Estimate
    clear: bool


@dataclass(frozen=True)
class CanaryReport:
    """One of the further versions beside the one with most callers. `failures`: the difference of their shares."""

    version: str
    canary: str
    failures: Estimate | None
    shifts: list[ClassShift]
    conclusion: str


@dataclass(frozen=True)
class Report:
    alias: str
    model: str
    versions: list[VersionReport]
    canaries: list[CanaryReport]
    shadows: list[ShadowReport]


def report(
    alias: str, target: Target, counted: Counted, names: Mapping[str, str], faults: Mapping[tuple[str, str], str]
) -> Report:
    """`names`: of the classes by their id. `faults`: of shadows, by version and shadow."""
    of = counted.versions
    main = target.main
    others = [each.version for each in target.versions if each.version != main]
    pairs = sorted({*(pair for pair in counted.pairs if pair[1] == target.shadow), *faults})
    return Report(
        alias,
        target.model,
        [_version(each.version, each.weight, of[each.version]) for each in target.versions],
        [_canary(main, other, of[main], of[other], names) for other in others],
        [_shadow(pair, counted.pairs[pair], faults.get(pair, "")) for pair in pairs],
    )


def _shadow(pair: tuple[str, str], counted: CountedPair, fault: str) -> ShadowReport:
    version, shadow = pair
    photos = round(counted.photos["compared"])
    agreed = share(counted.agree["top1"], photos) if photos else None
    return ShadowReport(
        version,
        shadow,
        photos,
        round(counted.photos["passed_over"]),
        round(counted.photos["failed"]),
        fault,
        _agreement(version, shadow, photos, agreed, fault),
        agreed,
        share(counted.agree["top5"], photos) if photos else None,
        _mean(counted, photos, "delta_log_p"),
        _ms(_mean(counted, photos, "answer")),
        _ms(_mean(counted, photos, "shadow")),
    )


def _agreement(version: str, shadow: str, photos: int, agreed: Estimate | None, fault: str) -> str:
    if agreed is None:
        why = f": {fault}" if fault else ""
        return f"Nothing can be concluded: no photo has been compared yet{why}."
    return f"On {_photos(photos)} versions {version} and {shadow} name the same class for {_percent(agreed)}."


def _version(version: str, weight: float, counted: CountedVersion) -> VersionReport:
    failed, of = _failures(counted)
    p50, p95, p99 = (_ms(quantile(EDGES_S, counted.seconds, each)) for each in (0.5, 0.95, 0.99))
    failures = share(failed, of) if of else None
    return VersionReport(version, weight, round(sum(counted.outcomes.values())), failures, p50, p95, p99)


def _canary(
    main: str, canary: str, counted: CountedVersion, other: CountedVersion, names: Mapping[str, str]
) -> CanaryReport:
    (failed, of), (other_failed, other_of) = _failures(counted), _failures(other)
    if not of or not other_of:
        missing = main if not of else canary
        conclusion = f"Nothing can be concluded: version {missing} has answered no photo yet."
        return CanaryReport(main, canary, None, [], conclusion)
    failures = difference(other_failed, other_of, failed, of)
    shifts = _shifts(counted.top1, other.top1, names)
    told = f"Version {canary} answered {_photos(round(other_of))} and version {main} {_photos(round(of))}"
    conclusion = f"{told}: {_of_failures(failures)}, and {_of_classes(shifts)}."
    return CanaryReport(main, canary, failures, shifts[:_SHIFTS], conclusion)


def _of_failures(found: Estimate) -> str:
    if found.low > 0:
        return f"it fails more often, by {_points(found)}"
    if found.high < 0:
        return f"it fails less often, by {_points(found)}"
    return f"no difference in failures is seen ({_points(found)})"


def _of_classes(shifts: Sequence[ClassShift]) -> str:
    if shifts and shifts[0].clear:
        how = "more" if shifts[0].difference.value > 0 else "less"
        return f"it names '{shifts[0].label}' {how} often, by {_points(shifts[0].difference)}"
    return "no difference in the classes that they name is seen"


def _shifts(counted: Mapping[str, float], other: Mapping[str, float], names: Mapping[str, str]) -> list[ClassShift]:
    """All classes, the clear and then the largest differences first."""
    of, other_of = sum(counted.values()), sum(other.values())
    classes = sorted({*counted, *other} - {OTHER_CLASSES})
    if not (of and other_of):
        return []
    found = []
    for each in classes:
        hits, other_hits = counted.get(each, 0.0), other.get(each, 0.0)
        by = difference(other_hits, other_of, hits, of)
        by_chance = chance(round(other_hits), round(hits + other_hits), other_of / (of + other_of))
        clear = by_chance * len(classes) < 1 - CONFIDENCE
        found.append(ClassShift(each, names.get(each, each), hits / of, other_hits / other_of, by, clear))
    return sorted(found, key=lambda shift: (not shift.clear, -_size(shift)))


def _size(shift: ClassShift) -> float:
    return abs(shift.difference.value)


def _failures(counted: CountedVersion) -> tuple[float, float]:
    """How many images failed that might have been answered, and how many those were."""
    failed = sum(counted.outcomes.get(code, 0.0) for code in _FAILURES)
    return failed, failed + counted.outcomes.get(OK, 0.0)


def _mean(counted: CountedPair, photos: int, what: str) -> Estimate | None:
    return mean(photos, counted.sums[what, "sum"], counted.sums[what, "squares"])


def _ms(seconds: Estimate | None) -> Estimate | None:
    return seconds and Estimate(seconds.value * 1e3, seconds.low * 1e3, seconds.high * 1e3)


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"


def _percent(found: Estimate) -> str:
    return f"{found.value:.1%} ({found.low * 100:.1f} to {found.high * 100:.1f})".replace("%", " %", 1)


def _points(found: Estimate) -> str:
    return f"{found.value * 100:.1f} points ({found.low * 100:.1f} to {found.high * 100:.1f})"
