"""Process metrics: what each process of the server is and uses, under the names that Prometheus' users expect."""

import os
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, ProcessCollector
from prometheus_client.registry import Collector

SERVER = "server"
"""The name of the only process, where one does it all."""


class ProcessMetrics(Collector):
    """`process_…` of one process, with the label `process`. Without it those of several processes would be added up,
    and the sum of two ages says nothing. Empty where the system has no /proc.
    """

    def __init__(self, name: str, pid: Callable[[], int] = os.getpid) -> None:
        self._name = name
        self._collector = ProcessCollector(pid=pid, registry=None)

    def collect(self) -> Iterable[Metric]:
        for family in self._collector.collect():
            named = Metric(family.name, family.documentation, family.type)
            for sample in family.samples:
                named.add_sample(sample.name, {"process": self._name}, sample.value)
            yield named


def show_process(registry: CollectorRegistry, name: str, restarts: int | None = None) -> None:
    """Add what this process is and uses. `restarts`: how often the parent started it again; None without a parent."""
    registry.register(ProcessMetrics(name))
    build = Gauge(
        "sesame_build_info",
        "1, with the versions of the server and of Python.",
        ("version", "python"),
        registry=registry,
    )
    build.labels(version("sesame"), platform.python_version()).set(1)
    if restarts is not None:
        counter = Counter(
            "sesame_restarts_total",
            "How often the parent has started a front or the core again.",
            ("process",),
            registry=registry,
        )
        counter.labels(name).inc(restarts)


def show_core(registry: CollectorRegistry, restarts: int, fronts: Callable[[], int]) -> None:
    """Add what the core shows of itself, of its parent, which serves no metrics, and of the fronts."""
    show_process(registry, "core", restarts)
    registry.register(ProcessMetrics("parent", os.getppid))
    gauge = Gauge("sesame_fronts", "Fronts that are connected to the core.", registry=registry)
    gauge.set_function(fronts)
