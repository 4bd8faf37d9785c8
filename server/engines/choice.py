"""Choice: which engine runs which graph of a bundle on this machine, in which precision, and why."""

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from bundle.errors import BundleError
from bundle.files import Bundle
from bundle.parity import Parity
from server import engines
from server.engines import Engine
from server.engines.ort import OrtCpuEngine
from server.engines.remembered import Remembered

log = logging.getLogger(__name__)

Kind = Literal["cpu", "gpu"]
"""Of device. A batch on the one never waits for a batch on the other."""

AUTO = "auto"
_FOR_CPUS = ("fp32", "int8")  # graphs; the others of a bundle are a GPU's


@dataclass(frozen=True)
class Choice:
    """An engine over one graph of a bundle; `why` is told to operators.

    `others` are the same on the further processors of its device, one each.
    """

    engine: Engine
    why: str
    others: tuple[Engine, ...] = ()
    device: Kind = "cpu"

    @property
    def engines(self) -> tuple[Engine, ...]:
        return (self.engine, *self.others)


@dataclass(frozen=True)
class Tried:
    """What an engine showed: how near it is to the bundle's probe, and how fast at its best batch size."""

    parity: Parity
    batch: int
    images_per_s: float


@dataclass(frozen=True)
class Candidate:
    """An engine that could be made."""

    engine: str
    precision: str
    make: Callable[[], Engine]

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}"

    def tried(self, bundle: Bundle, max_batch: int) -> Tried:
        """Make it, compare and time it; raises whatever its runtime does, or EngineFailed."""
        engine = self.make()
        parity = engines.check(engine, bundle.probe, max_batch)
        measured_s = engines.measure(engine, bundle.probe.pixels, max_batch)
        images_per_s, batch = max((batch / seconds, batch) for batch, seconds in measured_s.items())
        return Tried(parity, batch, images_per_s)


class Chooser:
    """Takes the engine and precision that were wished, or the fastest of those whose proof the bundle holds."""

    def __init__(self, threads: int, max_batch: int, engine: str, precision: str, cache_dir: Path) -> None:
        self._threads = threads
        self._max_batch = max_batch
        self._engine = engine
        self._precision = precision
        self._remembered = Remembered(cache_dir / "choices.json")

    def __call__(self, bundle: Bundle) -> Choice:
        """Slow where several must be timed. Raises BundleError where nothing here can run what was wished."""
        candidates = [
            candidate
            for candidate in proven(bundle, self._threads)
            if self._engine in (AUTO, candidate.engine) and self._precision in (AUTO, candidate.precision)
        ]
        if not candidates:
            raise BundleError(
                f"Nothing here runs the bundle '{bundle.manifest.name}' with engine={self._engine} and "
                f"precision={self._precision}: it needs a graph of that precision whose proof was kept (see /models), "
                "and the engine installed."
            )
        if len(candidates) == 1:
            return Choice(candidates[0].make(), "the only one here that is proven")
        return self._fastest(bundle, candidates)

    def _fastest(self, bundle: Bundle, candidates: list[Candidate]) -> Choice:
        key = self._remembered.key(bundle, self._threads, [candidate.name for candidate in candidates])
        rates = self._remembered.get(key)
        if rates is None:
            rates = {candidate.name: self._rate(bundle, candidate) for candidate in candidates}
            self._remembered.put(key, rates)
        best = max(candidates, key=lambda candidate: rates.get(candidate.name, 0.0))
        told = ", ".join(f"{name} {rate:.0f}" for name, rate in sorted(rates.items(), key=lambda item: -item[1]))
        log.info("%s runs on %s; images/s: %s", bundle.manifest.name, best.name, told)
        return Choice(best.make(), f"the fastest here, in images/s: {told}")

    def _rate(self, bundle: Bundle, candidate: Candidate) -> float:
        """Images a second at its best batch size; 0 where it does not work or not keep the bundle's probe."""
        try:
            return candidate.tried(bundle, self._max_batch).images_per_s
        except Exception as error:  # a runtime may raise anything at a graph that it cannot take
            log.warning("%s does not run %s: %s", candidate.name, bundle.manifest.name, error)
            return 0.0


def proven(bundle: Bundle, threads: int) -> Iterator[Candidate]:
    """Every engine that is installed over every graph; of lower precisions those whose proof is in the manifest."""
    proven = {(row.file, row.engine, row.precision) for row in bundle.manifest.parity}
    for engine, (make, precisions) in _installed().items():
        for graph in [graph for graph in bundle.manifest.graphs if graph.precision in _FOR_CPUS]:
            for precision in precisions if graph.precision == "fp32" else (graph.precision,):
                if precision == "fp32" or (graph.file, engine, precision) in proven:
                    yield Candidate(engine, precision, partial(make, bundle.path / graph.file, threads, precision))


def _installed() -> dict[str, tuple[Callable[[Path, int, str], Engine], tuple[str, ...]]]:
    """By name: how an engine is made of a graph, and in which precisions it can run an fp32 graph."""
    found: dict[str, tuple[Callable[[Path, int, str], Engine], tuple[str, ...]]] = {
        OrtCpuEngine.name: (OrtCpuEngine, ("fp32",))
    }
    if importlib.util.find_spec("openvino"):
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would report the import
        from server.engines import ov  # large, and not everybody's

        found[ov.OpenVinoCpuEngine.name] = (ov.OpenVinoCpuEngine, ov.precisions())
    return found
