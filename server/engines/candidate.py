"""Candidate: an engine that could run one graph of a bundle here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bundle.files import Bundle
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
    """`make` makes it on the processor of that number, of so many. `stamp`: all that its speed depends on besides the
    bundle and the versions of packages.
    """

    engine: str
    precision: str
    make: Callable[[int], Engine]
    stamp: str
    device: Kind = "cpu"
    processors: int = 1

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
