"""Probe check: before an engine serves, its answers to the bundle's probe are compared with the exporter's."""

import numpy as np

from bundle import parity
from bundle.parity import Parity
from bundle.probe import Probe
from server.engines.engine import Engine, EngineFailed, run_checked


def check(engine: Engine, probe: Probe, max_batch: int) -> Parity:
    """Run the engine on the bundle's probe, one image and in batches, and compare with the exporter's answers.

    Raises EngineFailed where the difference is above the tolerances of `bundle.parity`. Slow: for a thread.
    """
    classes = probe.probabilities.shape[1]
    run_checked(engine, probe.pixels[:1], classes)
    starts = range(0, len(probe.pixels), max_batch)
    rows = np.concatenate([run_checked(engine, probe.pixels[at : at + max_batch], classes) for at in starts])
    found = parity.compare(probe.probabilities, rows)
    if not found.passes(engine.precision):
        raise EngineFailed(
            f"{engine.name} in {engine.precision} does not answer the bundle's probe as its export did: max |Δp| "
            f"{found.max_dp:.2g}, max |Δ log p| {found.max_dlogp:.2g}, best class kept for {found.sure_agreement:.1%} "
            f"of {found.sure_images} sure images"
        )
    return found
