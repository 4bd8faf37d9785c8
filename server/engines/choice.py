"""Choice: which engine runs which graph of a bundle on this machine, in which precision, and why."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from bundle.errors import BundleError
from bundle.files import Bundle
from server.engines import on_cpu, probe_check, table
from server.engines.candidate import Candidate
from server.engines.engine import Engine
from server.engines.machine import Machine
from server.engines.measurements import MeasurementCache
from server.engines.table import AUTO, Kind

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """An engine over one graph of a bundle. `why` is shown to operators.

    `others` are the same engine on the further processors of its device, one each.
    """

    engine: Engine
    why: str
    others: tuple[Engine, ...] = ()
    device: Kind = "cpu"

    @property
    def engines(self) -> tuple[Engine, ...]:
        return (self.engine, *self.others)


class Chooser:
    """Takes the engine and the precision of the settings; where these are `auto`, the fastest that the bundle holds a
    proof for.

    Engines are timed only against their like: on GPUs those of one runtime, then those on the CPU. TensorRT is
    preferred to CUDA, and CUDA to the CPU.
    """

    def __init__(self, machine: Machine, engine: str, precision: str, remembered: MeasurementCache) -> None:
        self._machine = machine
        self._engine = engine
        self._precision = precision
        self._remembered = remembered

    def __call__(self, bundle: Bundle) -> Choice:
        """Slow where several must be timed: for a thread. Raises BundleError where nothing here can run the bundle with
        these settings.
        """
        if why := on_cpu.why_not(bundle):
            log.warning("%s: %s", bundle.manifest.name, why)
        allowed = [
            candidate
            for candidate in self._machine.candidates(bundle)
            if self._engine in (AUTO, candidate.engine) and self._precision in (AUTO, candidate.precision)
        ]
        if not allowed:
            raise BundleError(self._nothing(bundle))
        on_gpus = [candidate for candidate in allowed if candidate.device == "gpu"]
        for engine in dict.fromkeys(candidate.engine for candidate in on_gpus):
            alike = [candidate for candidate in on_gpus if candidate.engine == engine]
            if choice := self._fastest(bundle, alike):
                return choice
        on_cpus = [candidate for candidate in allowed if candidate.device == "cpu"]
        if len(on_cpus) > 1 and (choice := self._fastest(bundle, on_cpus)):
            return choice
        last = (on_cpus or on_gpus)[0]
        failed = "the engines that are usually faster do not work here: see the log"
        return self._choose(bundle, last, failed if on_gpus else "the only one here whose accuracy the export measured")

    def _fastest(self, bundle: Bundle, candidates: Sequence[Candidate]) -> Choice | None:
        """None where not one of them works."""
        key = self._remembered.key(
            bundle, [f"{candidate.name} {candidate.speed_depends_on}" for candidate in candidates]
        )
        rates = dict(self._remembered.get(key) or {})
        if new := [candidate for candidate in candidates if candidate.name not in rates]:
            rates |= {candidate.name: self._rate(bundle, candidate) for candidate in new}
            # a candidate that failed is not remembered: it is tried again at the next load
            self._remembered.put(key, {name: rate for name, rate in rates.items() if rate})
        best = max(candidates, key=lambda candidate: rates.get(candidate.name, 0.0))
        ranking = ", ".join(f"{name} {rate:.0f}" for name, rate in sorted(rates.items(), key=lambda item: -item[1]))
        if not rates.get(best.name):
            return None
        log.info("%s runs on %s; images/s: %s", bundle.manifest.name, best.name, ranking)
        try:
            return self._choose(bundle, best, f"the fastest here, in images/s: {ranking}")
        except Exception as error:  # an engine that worked when it was measured may fail today
            log.warning("%s does not run %s any more: %s", best.name, bundle.manifest.name, error)
            return None

    def _rate(self, bundle: Bundle, candidate: Candidate) -> float:
        """Images a second at its best batch size; 0 where it does not work, or does not answer the probe correctly."""
        try:
            return candidate.tried(bundle, self._machine.max_batch).images_per_s
        except Exception as error:  # a runtime may raise anything at a graph that it cannot take
            log.warning("%s does not run %s: %s", candidate.name, bundle.manifest.name, error)
            return 0.0

    def _choose(self, bundle: Bundle, candidate: Candidate, why: str) -> Choice:
        """Make the engine on each of its processors.

        On GPUs each is compared with the probe here, while another engine can still be chosen.
        """
        first, *others = engines = [candidate.make(number) for number in range(candidate.processors)]
        if candidate.device == "gpu":
            for engine in engines:
                probe_check.check(engine, bundle.probe, self._machine.max_batch)
        else:
            why = "; ".join(filter(None, [why, *self._no_gpu_engine(bundle), on_cpu.why_not(bundle)]))
        return Choice(first, why, tuple(others), candidate.device)

    def _no_gpu_engine(self, bundle: Bundle) -> list[str]:
        """Why engines cannot use the GPUs of this machine; none where it has no GPU."""
        engines = [entry for entry in table.ENGINES if entry.device == "gpu" and self._machine.gpus]
        return [self._machine.why_not(entry, bundle) for entry in engines]

    def _nothing(self, bundle: Bundle) -> str:
        entry = next((entry for entry in table.ENGINES if entry.name == self._engine), None)
        why = self._machine.why_not(entry, bundle) if entry else ""
        if not why and entry and entry.needs:
            why = f"it needs {entry.needs}"
        if not why and self._precision == "int8":
            why = on_cpu.why_not(bundle)
        if not why:
            missing = [self._machine.why_not(each, bundle) for each in table.ENGINES if each.device == "cpu"]
            needed = "it needs a graph of that precision whose proof was kept (see /models), and the engine installed"
            why = "; ".join(filter(None, [needed, *missing]))
        settings = f"engine={self._engine} and precision={self._precision}"
        return f"Nothing here runs the bundle '{bundle.manifest.name}' with {settings}: {why}."
