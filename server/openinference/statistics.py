"""The statistics extension of the Open Inference Protocol: what /metrics says, for each model version."""

import re
from collections import defaultdict
from collections.abc import Iterator

from server.triton_metrics import PREFIX

Duration = dict[str, int]
Numbers = dict[str, float]  # by name of the metric

_LAST_BATCH = "sesame_last_batch_timestamp_seconds"
_READ = (PREFIX, _LAST_BATCH)
_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\n": "\n", r"\"": '"', r"\\": "\\"}


def statistics(exposition: str, name: str = "", version: str = "") -> list[dict[str, object]]:
    """The ModelStatistics of each version, as JSON with the names of the protobuf fields.

    `exposition`: the text of /metrics. `name`, `version`: only those; empty: all. A request is one image, as in the
    metrics that Triton names. Times of failures are not measured: they are 0. Nothing is said of a cache or of single
    batch sizes.
    """
    of_version: dict[tuple[str, str], Numbers] = defaultdict(lambda: defaultdict(float))
    for key, metric, value in _samples(exposition):
        if name in ("", key[0]) and version in ("", key[1]):
            of_version[key][metric] += value  # the reasons of failures add up
    return [_model(*key, numbers) for key, numbers in sorted(of_version.items(), key=_in_order)]


def _samples(exposition: str) -> Iterator[tuple[tuple[str, str], str, float]]:
    """Model and version, name of the metric, value."""
    for line in exposition.split("\n"):
        if line.startswith(_READ) and (sample := _SAMPLE.match(line)):
            labels = {label: _plain(text) for label, text in _LABEL.findall(sample[2])}
            yield (labels["model"], labels["version"]), sample[1], float(sample[3])


def _plain(text: str) -> str:
    return re.sub(r"\\.", lambda escaped: _ESCAPED.get(escaped[0], escaped[0]), text) if "\\" in text else text


def _in_order(entry: tuple[tuple[str, str], Numbers]) -> tuple[str, int, str]:
    (name, version), _ = entry
    return name, int(version) if version.isdecimal() else 0, version


def _model(name: str, version: str, numbers: Numbers) -> dict[str, object]:
    return {
        "name": name,
        "version": version,
        "last_inference": round(numbers[_LAST_BATCH] * 1e3),
        "inference_count": round(numbers[f"{PREFIX}count"]),
        "execution_count": round(numbers[f"{PREFIX}exec_count"]),
        "inference_stats": _durations(numbers),
        "batch_stats": [],
    }


def _durations(numbers: Numbers) -> dict[str, Duration]:
    """All eight of the protocol: clients need each of them.

    All stages have the count of `success`, also while images are between them and for pixels, which are not decoded:
    perf_analyzer ends with an error where the counts of two stages differ.
    """
    answered = numbers[f"{PREFIX}request_success"]
    return {
        "success": _duration(answered, numbers[f"{PREFIX}request_duration_us"]),
        "fail": _duration(numbers[f"{PREFIX}request_failure"]),
        **{
            stage: _duration(answered, numbers[f"{PREFIX}{stage}_duration_us"])
            for stage in ("queue", "compute_input", "compute_infer", "compute_output")
        },
        "cache_hit": _duration(0),
        "cache_miss": _duration(0),
    }


def _duration(count: float, us: float = 0) -> Duration:
    return {"count": round(count), "ns": round(us * 1000)}
