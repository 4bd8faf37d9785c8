"""Choice: which engine runs which graph of a bundle on this machine, in which precision, and why."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from bundle.errors import BundleError
from bundle.files import Bundle
from plans.gpus import Gpu
from plans.store import Store
from server import engines
from server.engines import Engine, on_cpu, on_gpu
from server.engines.candidate import Candidate, Kind
from server.engines.remembered import Remembered

log = logging.getLogger(__name__)

AUTO = "auto"


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
class Machine:
    """What engines may use here. `store`: where this machine's plans lie."""

    threads: int
    gpus: Sequence[Gpu]
    store: Store
    max_batch: int

    def candidates(self, bundle: Bundle) -> list[Candidate]:
        """All that could run it, the kind that is taken first at the beginning: TensorRT, CUDA, the CPU."""
        return [
            *on_gpu.tensorrt(bundle, self.gpus, self.store),
            *on_gpu.cuda(bundle, self.gpus, self.max_batch),
            *on_cpu.candidates(bundle, self.threads),
        ]

    def has_plans(self, bundle: Bundle) -> bool:
        return any(on_gpu.tensorrt(bundle, self.gpus, self.store))

    def could_have_plans(self, wished: str, engine: str) -> bool:
        """Whether TensorRT, if it had plans, would take over from that engine."""
        return wished == AUTO and engine != on_gpu.TENSORRT and on_gpu.can_have_plans(self.gpus)


class Chooser:
    """Takes the engine and precision that were wished, or the fastest of those whose proof the bundle holds.

    Only engines of one kind are timed against each other: TensorRT comes before CUDA, and that before the CPU.
    """

    def __init__(self, machine: Machine, engine: str, precision: str, remembered: Remembered) -> None:
        self._machine = machine
        self._engine = engine
        self._precision = precision
        self._remembered = remembered

    def __call__(self, bundle: Bundle) -> Choice:
        """Slow where several must be timed. Raises BundleError where nothing here can run what was wished."""
        if why := on_cpu.why_not(bundle):
            log.warning("%s: %s", bundle.manifest.name, why)
        wished = [
            candidate
            for candidate in self._machine.candidates(bundle)
            if self._engine in (AUTO, candidate.engine) and self._precision in (AUTO, candidate.precision)
        ]
        if not wished:
            raise BundleError(self._nothing(bundle))
        on_gpus = [candidate for candidate in wished if candidate.device == "gpu"]
        for engine in dict.fromkeys(candidate.engine for candidate in on_gpus):
            kind = [candidate for candidate in on_gpus if candidate.engine == engine]
            if choice := self._fastest(bundle, kind):
                return choice
        on_cpus = [candidate for candidate in wished if candidate.device == "cpu"]
        if len(on_cpus) > 1 and (choice := self._fastest(bundle, on_cpus)):
            return choice
        left = (on_cpus or on_gpus)[0]
        return self._made(bundle, left, "no other works here" if on_gpus else "the only one here that is proven")

    def _fastest(self, bundle: Bundle, candidates: Sequence[Candidate]) -> Choice | None:
        """None where not one of them works."""
        key = self._remembered.key(bundle, [f"{candidate.name} {candidate.stamp}" for candidate in candidates])
        rates = dict(self._remembered.get(key) or {})
        if new := [candidate for candidate in candidates if candidate.name not in rates]:
            rates |= {candidate.name: self._rate(bundle, candidate) for candidate in new}
            self._remembered.put(
                key, {name: rate for name, rate in rates.items() if rate}
            )  # what failed is tried again
        best = max(candidates, key=lambda candidate: rates.get(candidate.name, 0.0))
        told = ", ".join(f"{name} {rate:.0f}" for name, rate in sorted(rates.items(), key=lambda item: -item[1]))
        if not rates.get(best.name):
            return None
        log.info("%s runs on %s; images/s: %s", bundle.manifest.name, best.name, told)
        try:
            return self._made(bundle, best, f"the fastest here, in images/s: {told}")
        except Exception as error:  # what worked when it was measured need not work today
            log.warning("%s does not run %s any more: %s", best.name, bundle.manifest.name, error)
            return None

    def _rate(self, bundle: Bundle, candidate: Candidate) -> float:
        """Images a second at its best batch size; 0 where it does not work or not keep the bundle's probe."""
        try:
            return candidate.tried(bundle, self._machine.max_batch).images_per_s
        except Exception as error:  # a runtime may raise anything at a graph that it cannot take
            log.warning("%s does not run %s: %s", candidate.name, bundle.manifest.name, error)
            return 0.0

    def _made(self, bundle: Bundle, candidate: Candidate, why: str) -> Choice:
        """On each of its processors. On GPUs each is compared with the probe, while another kind can be taken."""
        first, *others = made = [candidate.make(number) for number in range(candidate.processors)]
        if candidate.device == "gpu":
            for engine in made:
                engines.check(engine, bundle.probe, self._machine.max_batch)
        else:
            gpus = on_gpu.why_not().values() if self._machine.gpus else ()
            why = "; ".join(filter(None, [why, *gpus, on_cpu.why_not(bundle)]))
        return Choice(first, why, tuple(others), candidate.device)

    def _nothing(self, bundle: Bundle) -> str:
        why = on_gpu.why_not().get(self._engine, "")
        if self._engine in on_gpu.ENGINES and not self._machine.gpus:
            why = "no GPU can be used, `python -m server doctor` tells why"
        elif not why and self._engine == on_gpu.TENSORRT:
            why = "it needs a plan for each GPU: run `python -m export build-engine` with the same --cache-dir"
        elif not why and self._precision == "int8":
            why = on_cpu.why_not(bundle)
        why = why or "it needs a graph of that precision whose proof was kept (see /models), and the engine installed"
        wished = f"engine={self._engine} and precision={self._precision}"
        return f"Nothing here runs the bundle '{bundle.manifest.name}' with {wished}: {why}."
