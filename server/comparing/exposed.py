"""Exposed: what was counted of aliases as Prometheus' metrics. Their samples of several processes add up."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from server.comparing.agreement import Agreement, Pair, Sums
from server.comparing.usage import EDGES_S, Usage

Version = tuple[str, str, str]  # alias, model, version

PREFIXES = ("sesame_canary_", "sesame_shadow_")
_VERSION = ("alias", "model", "version")
_PAIR = (*_VERSION, "shadow")


def families(usages: Iterable[tuple[Version, Usage]], agreements: Mapping[Pair, Agreement]) -> Iterator[Metric]:
    """Only those that have a sample."""
    for family in (*_canary([*usages]), *_shadow(agreements)):
        if family.samples:
            yield family


def _canary(usages: Iterable[tuple[Version, Usage]]) -> Iterable[Metric]:
    images = CounterMetricFamily(
        "sesame_canary_images",
        "Images that a version of an alias with several versions was given, by outcome as in sesame_images_total.",
        labels=(*_VERSION, "outcome"),
    )
    seconds = HistogramMetricFamily(
        "sesame_canary_seconds", "Time that these waited for the engine and took in it.", labels=_VERSION
    )
    top1 = CounterMetricFamily(
        "sesame_canary_top1",
        "Answers of these versions by the most probable class; an empty class stands for those above a thousand.",
        labels=(*_VERSION, "class"),
    )
    for version, usage in usages:
        for outcome, count in usage.outcomes.items():
            images.add_metric((*version, outcome), count)
        for label, count in usage.top1.items():
            top1.add_metric((*version, label), count)
        seconds.add_metric(version, _buckets(usage), usage.total_s)
    return images, seconds, top1


def _buckets(usage: Usage) -> list[tuple[str, float]]:
    below, buckets = 0, []
    for edge, count in zip((*map(repr, EDGES_S), "+Inf"), usage.seconds, strict=True):
        below += count
        buckets.append((edge, float(below)))
    return buckets


def _shadow(agreements: Mapping[Pair, Agreement]) -> Iterable[Metric]:
    photos = CounterMetricFamily(
        "sesame_shadow_photos",
        "Photos that an alias with a shadow answered: compared, failed (in the shadow), passed_over (while it was busy "
        "or rested).",
        labels=(*_PAIR, "outcome"),
    )
    agree = CounterMetricFamily(
        "sesame_shadow_agree",
        "Compared photos with the same most probable class (top1); where that of each is among the five of the other "
        "(top5).",
        labels=(*_PAIR, "what"),
    )
    delta = GaugeMetricFamily(
        "sesame_shadow_delta_log_p",
        "Over compared photos: log p of the answer's class in the shadow minus that in the answer, sum and sum of "
        "squares.",
        labels=(*_PAIR, "moment"),
    )
    infer = GaugeMetricFamily(
        "sesame_shadow_infer_seconds",
        "Over compared photos: time in the engine of the answer (its whole batch) and of the shadow (behind all else), "
        "sum and sum of squares.",
        labels=(*_PAIR, "of", "moment"),
    )
    for pair, sums in agreements.items():
        for outcome in ("compared", "failed", "passed_over"):
            photos.add_metric((*pair, outcome), getattr(sums, outcome))
        for what in ("top1", "top5"):
            agree.add_metric((*pair, what), getattr(sums, what))
        _moments(delta, pair, sums.delta_log_p)
        _moments(infer, (*pair, "answer"), sums.answer_s)
        _moments(infer, (*pair, "shadow"), sums.shadow_s)
    return photos, agree, delta, infer


def _moments(family: GaugeMetricFamily, labels: tuple[str, ...], sums: Sums) -> None:
    family.add_metric((*labels, "sum"), sums.total)
    family.add_metric((*labels, "squares"), sums.squares)
