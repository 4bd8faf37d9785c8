"""Counted: what the metrics of all processes say of one alias, read back from their text."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from server.comparing.exposed import PREFIXES
from server.comparing.usage import EDGES_S

_BUCKET = {repr(edge): at for at, edge in enumerate(EDGES_S)} | {"+Inf": len(EDGES_S)}

Labels = dict[str, str]


@dataclass
class CountedVersion:
    """See `Usage`. `seconds`: images in each bucket."""

    outcomes: dict[str, float] = field(default_factory=dict)
    top1: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=lambda: [0.0] * (len(EDGES_S) + 1))


@dataclass
class CountedPair:
    """See `Agreement`. `sums` by what is summed and its moment, `sum` or `squares`."""

    photos: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    agree: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    sums: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))


@dataclass
class Counted:
    """Of one alias: by version, and by version and shadow."""

    versions: dict[str, CountedVersion] = field(default_factory=lambda: defaultdict(CountedVersion))
    pairs: dict[tuple[str, str], CountedPair] = field(default_factory=lambda: defaultdict(CountedPair))


def counted(exposition: str, alias: str) -> Counted:
    """`exposition`: the text of /metrics. Takes milliseconds where there are many classes: for a thread."""
    found = Counted()
    for name, labels, value in _samples(exposition):
        if labels.get("alias") == alias:
            if name.startswith("sesame_canary_"):
                _add_version(found.versions[labels["version"]], name, labels, value)
            else:
                _add_pair(found.pairs[labels["version"], labels["shadow"]], name, labels, value)
    for version in found.versions.values():
        version.seconds = _differences(version.seconds)
    return found


def _samples(exposition: str) -> Iterator[tuple[str, Labels, float]]:
    lines = [line for line in exposition.split("\n") if line.startswith(PREFIXES)]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _add_version(version: CountedVersion, name: str, labels: Labels, value: float) -> None:
    match name:
        case "sesame_canary_images_total":
            version.outcomes[labels["outcome"]] = value
        case "sesame_canary_top1_total":
            version.top1[labels["class"]] = value
        case "sesame_canary_seconds_bucket" if labels["le"] in _BUCKET:
            version.seconds[_BUCKET[labels["le"]]] = value


def _add_pair(pair: CountedPair, name: str, labels: Labels, value: float) -> None:
    match name:
        case "sesame_shadow_photos_total":
            pair.photos[labels["outcome"]] = value
        case "sesame_shadow_agree_total":
            pair.agree[labels["what"]] = value
        case "sesame_shadow_delta_log_p":
            pair.sums["delta_log_p", labels["moment"]] = value
        case "sesame_shadow_infer_seconds":
            pair.sums[labels["of"], labels["moment"]] = value


def _differences(cumulative: list[float]) -> list[float]:
    return [count - before for before, count in zip([0.0, *cumulative[:-1]], cumulative, strict=True)]
