"""Candidate: an engine that could run one graph of a bundle here."""

from collections.abc import Callable
from dataclasses import dataclass

from bundle.files import Bundle
from bundle.parity import Parity
from server.engines import batch_size, probe_check
from server.engines.engine import Engine
from server.engines.table import Kind


@dataclass(frozen=True)
class Tried:
    """How near an engine's answers are to the bundle's probe, its best batch size, and its rate at that size."""

    parity: Parity
    batch: int
    images_per_s: float


@dataclass(frozen=True)
class Candidate:
    """`make(number)` makes the engine on that one of its `processors`, counted from 0.

    `speed_depends_on`: besides the bundle and the versions of packages; a measurement holds for this text only.
    """

    engine: str
    precision: str
    make: Callable[[int], Engine]
    speed_depends_on: str
    device: Kind = "cpu"
    processors: int = 1

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}"

    def tried(self, bundle: Bundle, max_batch: int) -> Tried:
        """Make the engine, compare its answers with the probe, and time it.

        Raises EngineFailed, or whatever its runtime raises.
        """
        engine = self.make(0)
        parity = probe_check.check(engine, bundle.probe, max_batch)
        measured_s = batch_size.measure(engine, bundle.probe.pixels, max_batch)
        images_per_s, batch = max((batch / seconds, batch) for batch, seconds in measured_s.items())
        return Tried(parity, batch, images_per_s)
