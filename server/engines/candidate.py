"""Candidate: an engine that could run one graph of a bundle here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bundle.files import Bundle
from bundle.manifest import Graph
from bundle.parity import Parity
from server import engines
from server.engines import Engine

Kind = Literal["cpu", "gpu"]
"""Of device. A batch on the one never waits for a batch on the other."""


@dataclass(frozen=True)
class Tried:
    """What an engine showed: how near it is to the bundle's probe, and how fast at its best batch size."""

    parity: Parity
    batch: int
    images_per_s: float


@dataclass(frozen=True)
class Candidate:
    """How the engine is made on each of its device's processors. `stamp`: all else that its speed depends on."""

    engine: str
    precision: str
    make: Callable[[int], Engine]
    device: Kind = "cpu"
    processors: int = 1
    stamp: str = ""

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}"

    def tried(self, bundle: Bundle, max_batch: int) -> Tried:
        """Make it, compare and time it; raises whatever its runtime does, or EngineFailed."""
        engine = self.make(0)
        parity = engines.check(engine, bundle.probe, max_batch)
        measured_s = engines.measure(engine, bundle.probe.pixels, max_batch)
        images_per_s, batch = max((batch / seconds, batch) for batch, seconds in measured_s.items())
        return Tried(parity, batch, images_per_s)


def graphs(bundle: Bundle, precisions: tuple[str, ...], engine: str = "") -> Iterator[Graph]:
    """The bundle's graphs of these precisions; of those below fp32 the ones whose proof is in the manifest.

    With `engine` the proof must be of that one: engines for CPUs compute INT8 differently. What engines for GPUs do is
    compared again, by whoever builds the plan and by the server.
    """
    proven = {(row.file, row.precision) for row in bundle.manifest.parity if engine in ("", row.engine)}
    for graph in bundle.manifest.graphs:
        if graph.precision in precisions and (graph.precision == "fp32" or (graph.file, graph.precision) in proven):
            yield graph
