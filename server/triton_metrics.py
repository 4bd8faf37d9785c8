"""Triton's metrics: the numbers of `server.metrics` under the names that Triton's users have in their dashboards.

Nothing is counted here. A request of Triton's is one image here, because our metrics count images.
"""

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

PREFIX = "nv_inference_"
REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
STAGES = {
    "request": "total",
    "queue": "queue",
    "compute_input": "decode",
    "compute_infer": "infer",
    "compute_output": "respond",
}
"""By Triton's name of a duration, our name of the stage."""

_NAME_OF_STAGE = {stage: name for name, stage in STAGES.items()}
_REASON_OF = {
    "deadline": "REJECTED",
    "queue_full": "REJECTED",
    "rate_limited": "REJECTED",
    "gone": "CANCELED",
    "engine_failed": "BACKEND",
}
_DURATIONS = {
    "request": "answered images took from admission to answer",
    "queue": "images waited for an engine",
    "compute_input": "the decoding of images took",
    "compute_infer": "batches took, counted for each of their images",
    "compute_output": "the writing of answers took; a request with several images has one",
}
_COUNTERS = {
    "request_success": "Images that were answered.",
    "request_failure": "Images that failed. REJECTED: refused, or their deadline passed; CANCELED: the client "
    "disconnected; BACKEND: the engine failed; OTHER: anything else, such as a bad image.",
    "count": "Images in batches, also in those that failed.",
    "exec_count": "Batches, also those that failed.",
    **{f"{name}_duration_us": f"Microseconds that {what}." for name, what in _DURATIONS.items()},
}
_PENDING = "pending_request_count"

_Version = tuple[str, str]  # model and version
_Values = dict[tuple[str, str], float]  # by Triton's name without prefix, and its reason or ""


def text(metrics: Collector) -> bytes:
    """All of `metrics` in Prometheus' text format, and behind them the same numbers under Triton's names."""
    families = list(metrics.collect())
    derived = generate_latest(_Fixed(_derived(families))).decode()
    return generate_latest(_Fixed(families)) + "".join(map(_typed, derived.splitlines(keepends=True))).encode()


class _Fixed(Collector):
    """A collector of families that have been collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _typed(line: str) -> str:
    """prometheus_client adds `_total` to the name of a counter. So ours are untyped for it, and get their type here."""
    return line.replace(" untyped", " counter") if line.startswith("# TYPE ") else line


def _derived(families: Iterable[Metric]) -> list[Metric]:
    values: dict[_Version, _Values] = {}
    for sample in (sample for family in families for sample in family.samples):
        if name := _name(sample):
            version = sample.labels["model"], sample.labels["version"]
            values.setdefault(version, defaultdict(float))[name] += sample.value
    found = [_family(name, help_text, "unknown", values) for name, help_text in _COUNTERS.items()]
    return [*found, _family(_PENDING, "Decoded images that wait for an engine.", "gauge", values)]


def _family(name: str, help_text: str, kind: str, values: dict[_Version, _Values]) -> Metric:
    family = Metric(PREFIX + name, help_text, kind)
    for (model, version), of_version in values.items():
        for reason in REASONS if name == "request_failure" else ("",):
            labels = {"model": model, "version": version} | ({"reason": reason} if reason else {})
            value = of_version[name, reason]
            family.add_sample(PREFIX + name, labels, round(value * 1e6) if name.endswith("_us") else value)
    return family


def _name(sample: Sample) -> tuple[str, str] | None:
    """Triton's name of what a sample counts, and its reason; None where Triton has none."""
    match sample.name:
        case "sesame_images_total":
            outcome = sample.labels["outcome"]
            return ("request_success", "") if outcome == "ok" else ("request_failure", _REASON_OF.get(outcome, "OTHER"))
        case "sesame_refused_total":
            return "request_failure", "REJECTED"
        case "sesame_batch_images_sum":
            return "count", ""
        case "sesame_batch_images_count":
            return "exec_count", ""
        case "sesame_queue_images":
            return _PENDING, ""
        case "sesame_stage_seconds_sum" if sample.labels["stage"] in _NAME_OF_STAGE:
            return f"{_NAME_OF_STAGE[sample.labels['stage']]}_duration_us", ""
        case _:
            return None
