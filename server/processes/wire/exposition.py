"""Exposition: the metrics of several processes as one, in the text format of Prometheus."""

import logging
import zlib
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

log = logging.getLogger(__name__)

_MOST_BYTES = 64 << 20


def packed(registry: CollectorRegistry) -> bytes:
    """The metrics of one process, compressed."""
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


class _Merged:
    """A collector of metrics whose samples are sums."""

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
                both = min if sample.name.endswith("_created") else _sum
                merged.samples[at] = known._replace(value=both(known.value, sample.value))


def _families(text: str) -> list[Metric]:
    """None where the text cannot be read: the other processes are worth showing."""
    try:
        return list(text_string_to_metric_families(text))
    except (ValueError, IndexError) as error:  # the parser is not careful
        log.error("the metrics of a process are left out: %s", error)
        return []


def _sum(one: float, other: float) -> float:
    return one + other


def merged(texts: Iterable[str]) -> bytes:
    """Each sample is the sum of those of all processes; the time of its beginning is the earliest."""
    registry = CollectorRegistry()
    registry.register(_Merged(texts))
    return generate_latest(registry)
