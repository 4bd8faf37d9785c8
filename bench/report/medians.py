"""Medians: the median over rounds of what was measured more than once, and what else ran on the machine meanwhile."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class LoadPoint:
    """What so many requests at once showed."""

    at_once: int
    images_per_s: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def median(cls, at_once: int, rows: Sequence[Row]) -> "LoadPoint":
        rate, p50_ms, p99_ms = (
            statistics.median(row[name] for row in rows) for name in ("images_per_s", "p50_ms", "p99_ms")
        )
        return cls(at_once, rate, p50_ms, p99_ms)


def by_load(rows: Iterable[Row], at_once: str) -> list[LoadPoint]:
    """A point for each number of requests at once, ascending. `at_once`: the name of that number in a row."""
    loads: dict[int, list[Row]] = {}
    for row in rows:
        loads.setdefault(row[at_once], []).append(row)
    return [LoadPoint.median(number, loads[number]) for number in sorted(loads)]


def others(rows: Iterable[Row], cores: int) -> float:
    """The largest share of all cores that other work took during any of these, 0..1."""
    return max(float(row["others_cpu_s"]) / (float(row["seconds"]) * cores) for row in rows)
