"""`python -m bench.slow_shadow`: a shadow's process whose engine computes each picture as often as it is told."""

import os
from dataclasses import dataclass

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.engine import Engine
from server.shadow.__main__ import main
from server.shadow.engine import Network, open_network

TIMES = "BENCH_SHADOW_TIMES"
"""The variable that says how often."""


@dataclass(frozen=True)
class Repeated:
    """Another engine, so many times for each picture."""

    engine: Engine
    times: int

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def precision(self) -> str:
        return self.engine.precision

    def run(self, pixels: Pixels) -> Probabilities:
        for _ in range(self.times - 1):
            self.engine.run(pixels)
        return self.engine.run(pixels)


def _open(folder: str, engine: str, precision: str) -> Network:
    network = open_network(folder, engine, precision)
    return Network(network.bundle, Repeated(network.engine, int(os.environ[TIMES])))


if __name__ == "__main__":
    main(_open)
