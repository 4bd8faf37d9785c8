"""docs/metrics.md as a table, to be compared with what is served: `test_prometheus.py` does so with running servers."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from server.comparing.agreement import Agreement, Pair
from server.comparing.exposed import families
from server.comparing.usage import Classes, Usage
from server.gpu_metrics import GpuMetrics
from server.registry.loader import ReadyModel
from tests.conftest import REPOSITORY
from tests.support.fake_nvml import FakeNvml
from tests.support.gate import Gate, batcher_of
from tests.support.seam import Versions

_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ([^|]+) \| (\w+) \| ([^|]+) \|$", re.MULTILINE)
_SAMPLES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("", "_total"), "gauge": ("",)}


class Told(NamedTuple):
    """What is said of a metric. `labels`: None where it has no sample."""

    type: str
    labels: frozenset[str] | None


def guide(text: str, *where: str) -> dict[str, Told]:
    """By name, those of which the guide says that they are there."""
    rows = _ROW.findall(text)
    assert len({name for name, *_ in rows}) == len(rows)
    return {
        name: Told(kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _unit, place, _meaning in rows
        if place in where
    }


def served(text: str) -> dict[str, Told]:
    """By name, without the times at which counters and histograms began."""
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    began = {f"{name.removesuffix('_total')}_created" for name in types}
    labels: dict[str, frozenset[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels[sample.name] = frozenset(sample.labels) - {"le"}
    return {
        name: Told(kind, next((labels[name + end] for end in _SAMPLES[kind] if name + end in labels), None))
        for name, kind in types.items()
        if name not in began
    }


def differences(guide: dict[str, Told], served: dict[str, Told]) -> list[str]:
    missing = [f"{name} is not in docs/metrics.md" for name in served.keys() - guide.keys()]
    gone = [f"{name} is not served" for name in guide.keys() - served.keys()]
    wrong = [
        f"{name}: {guide[name]} in docs/metrics.md, {served[name]} served"
        for name in guide.keys() & served.keys()
        if guide[name].type != served[name].type or served[name].labels not in (None, guide[name].labels)
    ]
    return [*missing, *gone, *wrong]


def page() -> str:
    return (REPOSITORY / "docs" / "metrics.md").read_text()


def test_the_guide_lists_the_figures_of_gpus() -> None:
    registry = CollectorRegistry()
    registry.register(GpuMetrics(FakeNvml()))
    assert differences(guide(page(), "gpu"), served(generate_latest(registry).decode())) == []


class Aliases(Collector):
    """What is counted of an alias that has two versions and a shadow."""

    def __init__(self, ready: ReadyModel) -> None:
        self._usage = Usage(ready, Classes())
        self._usage.add("gone", None)
        self._usage.top1["goldfish"] += 1

    def collect(self) -> Iterator[Metric]:
        return families([(("stable", "demo", "1"), self._usage)], {Pair("stable", "demo", "1", "2"): Agreement()})


@pytest.mark.anyio
async def test_the_guide_lists_what_is_counted_of_aliases() -> None:
    registry = CollectorRegistry()
    versions = Versions()
    registry.register(Aliases(versions.loads[versions.add(batcher_of(Gate().run, permits=1, max_batch=1))][0]))
    assert differences(guide(page(), "aliases"), served(generate_latest(registry).decode())) == []


def _without(lines: Iterable[str], word: str) -> str:
    return "\n".join(line for line in lines if word not in line)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (lambda text: _without(text.splitlines(), "`sesame_fronts`"), "sesame_fronts is not in docs"),
        (lambda text: text.replace("`sesame_fronts`", "`sesame_front`"), "sesame_front is not served"),
        (lambda text: text.replace("`sesame_fronts` | gauge", "`sesame_fronts` | counter"), "sesame_fronts: Told"),
        (lambda text: text.replace("`face`, `outcome`", "`face`"), "sesame_requests_total: Told"),
    ],
    ids=["a row is missing", "a name is misspelt", "a type is wrong", "a label is missing"],
)
def test_a_fault_in_the_guide_is_found(fault: Callable[[str], str], complaint: str) -> None:
    as_told = guide(page(), "all", "fronts")
    faulty = guide(fault(page()), "all", "fronts")
    assert [complaint in found for found in differences(faulty, as_told)].count(True) == 1
