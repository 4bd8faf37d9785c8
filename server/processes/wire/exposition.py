"""Exposition: the metrics of several processes as one, in the text format of Prometheus."""

import logging
import operator
import zlib
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from server import triton_metrics

log = logging.getLogger(__name__)

_MOST_BYTES = 64 << 20


def packed(registry: CollectorRegistry) -> bytes:
    """The metrics of one process, compressed; without those that are derived from them under Triton's names."""
    return zlib.compress(generate_latest(registry), 1)


def unpacked(text: bytes) -> str:
    """Raises ValueError for what is not text that `packed` made, or longer than 64 MiB."""
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(text, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError("the metrics of a process cannot be read") from error
    if not inflater.eof:
        raise ValueError("the metrics of a process are torn, or too long")
    return found.decode()


class _Merged(Collector):
    """A collector of metrics whose samples are sums, times, or 1."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._families: dict[str, Metric] = {}
        self._at: dict[tuple[str, str, tuple[tuple[str, str], ...]], int] = {}
        for text in texts:
            for family in _families(text):
                self._add(family)

    def collect(self) -> Iterable[Metric]:
        return self._families.values()

    def _add(self, family: Metric) -> None:
        merged = self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        for sample in family.samples:
            key = family.name, sample.name, tuple(sorted(sample.labels.items()))
            at = self._at.setdefault(key, len(merged.samples))
            if at == len(merged.samples):
                merged.samples.append(sample)
            else:
                known = merged.samples[at]
                merged.samples[at] = known._replace(value=_both(sample.name)(known.value, sample.value))


def _families(text: str) -> list[Metric]:
    """None where the text cannot be read: the other processes are worth showing."""
    try:
        return list(text_string_to_metric_families(text))
    except (ValueError, IndexError) as error:  # the parser is not careful
        log.error("the metrics of a process are left out: %s", error)
        return []


def _both(name: str) -> Callable[[float, float], float]:
    """What one sample is made of two."""
    if name.endswith("_created"):
        return min
    return max if name.endswith(("_timestamp_seconds", "_info")) else operator.add


def merged(texts: Iterable[str]) -> bytes:
    """Each sample is the sum of those of all processes; a time is the latest, that of its beginning the earliest. An
    `_info` stays 1.
    """
    return triton_metrics.text(_Merged(texts))
