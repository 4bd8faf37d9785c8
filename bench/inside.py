"""Inside: what a server itself counted while it was loaded: time by stage, and batches by size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

STAGES = ("receive", "decode", "queue", "infer", "respond")
"""In the order in which an image meets them. `receive` and `respond` are those of its request."""

_STAGES, _BATCHES = "sesame_stage_seconds", "sesame_batch_images"


@dataclass(frozen=True)
class Counts:
    """The counters of all model versions together, since the server's start.

    `seconds` and `counts`: by stage. `batches`: by the largest number of images that its bucket holds, less than those
    of no larger bucket.
    """

    seconds: Mapping[str, float]
    counts: Mapping[str, float]
    batches: Mapping[float, float]

    @classmethod
    def of(cls, metrics: str) -> Self:
        """`metrics`: the text of `/metrics`."""
        seconds: dict[str, float] = {}
        counts: dict[str, float] = {}
        up_to: dict[float, float] = {}
        for family in text_string_to_metric_families(metrics):
            for sample in family.samples:
                stage = sample.labels.get("stage", "")
                if sample.name == f"{_STAGES}_sum":
                    seconds[stage] = seconds.get(stage, 0.0) + sample.value
                elif sample.name == f"{_STAGES}_count":
                    counts[stage] = counts.get(stage, 0.0) + sample.value
                elif sample.name == f"{_BATCHES}_bucket":
                    images = float(sample.labels["le"])
                    up_to[images] = up_to.get(images, 0.0) + sample.value
        sizes = sorted(up_to)
        below = [0.0, *(up_to[size] for size in sizes[:-1])]
        batches = {size: up_to[size] - less for size, less in zip(sizes, below, strict=True)}
        return cls(seconds, counts, batches)


@dataclass(frozen=True)
class Inside:
    """Of one load point. `stage_ms`: the mean time of an image (a request) in each of STAGES. `batches`: how many there
    were, by the largest number of images of their bucket in `/metrics`; buckets without any are left out.
    """

    stage_ms: dict[str, float]
    batches: dict[str, int]

    @classmethod
    def between(cls, before: Counts, after: Counts) -> Self:
        stage_ms = {
            stage: 1e3 * (after.seconds[stage] - before.seconds.get(stage, 0.0)) / more
            for stage in STAGES
            if (more := after.counts.get(stage, 0.0) - before.counts.get(stage, 0.0))
        }
        grown = {size: int(count - before.batches.get(size, 0.0)) for size, count in after.batches.items()}
        return cls(stage_ms, {f"{size:g}": count for size, count in grown.items() if count})
