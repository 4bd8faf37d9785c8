"""Timings: how long batches take, measured at each load and remembered, so that noise does not choose their size."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from bundle.files import Bundle
from server.engines import batch_size
from server.engines.engine import Engine
from server.engines.measurements import MeasurementCache, versions
from server.host import cores

log = logging.getLogger(__name__)

_BEST = "best"


@dataclass(frozen=True)
class Timings:
    """The timings of engines on this machine.

    `remembered` holds, by key, the shortest seconds of each size so far, and the best size. `threads` and `gpus` (their
    names) are what an engine's speed depends on besides its graph, its version and the CPU.
    """

    remembered: MeasurementCache
    threads: int
    gpus: tuple[str, ...] = ()

    def measure(self, engine: Engine, bundle: Bundle, most: int) -> dict[int, float]:
        """Seconds of batches of 1, 2, 4 … images as measured now, up to the best size by all measurements so far.

        Slow: for a thread.
        """
        key = self._key(engine, bundle)
        numbers = self.remembered.get(key) or {}
        earlier = {int(name): number for name, number in numbers.items() if name.isdecimal() and 0 < number < math.inf}
        now = batch_size.time_batches(engine, bundle.probe.pixels, most, earlier.get(1, math.inf))
        shortest = {size: min(now[size], earlier.get(size, now[size])) for size in now}
        kept = numbers.get(_BEST, 0.0)
        best = batch_size.best_batch(shortest, int(kept) if math.isfinite(kept) else 0)
        log.info("%s runs best in batches of %d; ms per image: %s", bundle.manifest.name, best, _listed(shortest))
        known = {**earlier, **shortest}
        self.remembered.put(key, {_BEST: best, **{str(size): known[size] for size in sorted(known)}})
        return {size: seconds for size, seconds in now.items() if size <= best}

    def _key(self, engine: Engine, bundle: Bundle) -> str:
        graphs = [graph.sha256 for graph in bundle.manifest.graphs]
        machine = [cores.processor(), *cores.features(), self.threads, *self.gpus]
        text = json.dumps([engine.name, engine.precision, *graphs, *map(str, machine), *versions()])
        return hashlib.sha256(text.encode()).hexdigest()


def _listed(seconds: Mapping[int, float]) -> str:
    return ", ".join(f"{size}: {seconds[size] / size * 1e3:.3g}" for size in seconds)
