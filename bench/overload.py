"""`python -m bench.overload`: SE-ResNet-50 under loads from nothing to four times what can be served."""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import alone, arrivals, data, seresnet50, wrk
from bench.arrivals import Offered
from bench.photos import jpegs
from bench.running import Server, running

_CLOSED = (8, 16, 32)  # connections; few enough that nobody is refused
_LITTLE, _NEARLY, _FOURFOLD = 0.05, 0.9, 4.0


@dataclass(frozen=True)
class OverloadRound:
    """Milliseconds, images a second, or as the name says. `even`: arrivals at equal intervals; else Poisson's.

    `little_overhead_ms`: of each request, all but its own decoding and batch. These take longer than under load: where
    a machine does nothing between, its caches are cold.
    """

    capacity_per_s: float
    batch: int
    full_batch_ms: float
    idle_cpu_share: float
    little_p50_ms: float
    little_overhead_ms: float
    nearly_even_p99_ms: float
    nearly_p50_ms: float
    nearly_p99_ms: float
    fourfold_goodput_per_s: float
    fourfold_p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float
    refused: int
    broken: int
    memory_before_mib: float
    memory_after_mib: float
    generator_cpu_share: float

    @property
    def even_p99_batches(self) -> float:
        return self.nearly_even_p99_ms / self.full_batch_ms

    @property
    def p99_batches(self) -> float:
        return self.nearly_p99_ms / self.full_batch_ms

    @property
    def goodput_ratio(self) -> float:
        return self.fourfold_goodput_per_s / self.capacity_per_s


_ROWS: dict[str, Callable[[OverloadRound], float]] = {
    "capacity, closed loop, images/s": lambda row: row.capacity_per_s,
    "images in a full batch": lambda row: row.batch,
    "time of a full batch, ms": lambda row: row.full_batch_ms,
    "idle: share of one core, %": lambda row: 100 * row.idle_cpu_share,
    "5 %: p50 ms": lambda row: row.little_p50_ms,
    "5 %: beyond decoding and the engine, ms": lambda row: row.little_overhead_ms,
    "90 %, even arrivals: p99 ms": lambda row: row.nearly_even_p99_ms,
    "90 %, even arrivals: p99 / full batch": lambda row: row.even_p99_batches,
    "90 %, Poisson: p50 ms": lambda row: row.nearly_p50_ms,
    "90 %, Poisson: p99 ms": lambda row: row.nearly_p99_ms,
    "90 %, Poisson: p99 / full batch": lambda row: row.p99_batches,
    "400 %: goodput / capacity": lambda row: row.goodput_ratio,
    "400 %: p99 of the admitted, ms": lambda row: row.fourfold_p99_ms,
    "400 %: p50 of refusals, ms": lambda row: row.refused_p50_ms,
    "400 %: p99 of refusals, ms": lambda row: row.refused_p99_ms,
    "400 %: broken connections": lambda row: row.broken,
    "memory before, MiB": lambda row: row.memory_before_mib,
    "memory after, MiB": lambda row: row.memory_after_mib,
    "generator: share of one core at 400 %, %": lambda row: 100 * row.generator_cpu_share,
}


def main() -> None:
    """Every figure of every round goes to --json, the medians to standard output."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of the JPEG files to send in turn")
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many; default 5")
    parser.add_argument("--seconds", type=int, default=20, help="of each load; default 20")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        bundle = seresnet50.export(Path(folder))
        rounds = []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            rounds.append(_round(bundle, jpegs(options.photos), options.seconds, seed=number))
    for name, of in _ROWS.items():
        print(f"{name:<48}{statistics.median(map(of, rounds)):10.2f}")
    if options.json:
        options.json.write_text(json.dumps(_document(rounds), indent=1) + "\n", encoding="utf-8")


def _round(bundle: Path, photos: Sequence[Path], seconds: int, seed: int) -> OverloadRound:
    bench = alone.Bench(bundle, photos)
    encoded = [path.read_bytes() for path in photos]
    with running(bundle.parent.parent) as server:
        idle_share = _idle_share(server, seconds / 4)
        capacity = max(wrk.load(server, photos, connections, seconds // 2).images_per_s for connections in _CLOSED)
        batch = server.batch()
        full_s = bench.batch_s(batch)

        def offer(share: float, even: bool = False) -> Offered:
            offered = arrivals.offer(server.port, encoded, capacity * share, seconds, seed, even)
            server.await_idle()
            return offered

        little = offer(_LITTLE)
        even, nearly = offer(_NEARLY, even=True), offer(_NEARLY)
        memory = server.memory_bytes()
        fourfold = offer(_FOURFOLD)
        return OverloadRound(
            capacity_per_s=capacity,
            batch=batch,
            full_batch_ms=full_s * 1e3,
            idle_cpu_share=idle_share,
            little_p50_ms=little.latency_ms(0.5),
            little_overhead_ms=little.overhead_ms(),
            nearly_even_p99_ms=even.latency_ms(0.99),
            nearly_p50_ms=nearly.latency_ms(0.5),
            nearly_p99_ms=nearly.latency_ms(0.99),
            fourfold_goodput_per_s=fourfold.goodput_per_s(),
            fourfold_p99_ms=fourfold.latency_ms(0.99),
            refused_p50_ms=fourfold.latency_ms(0.5, status=429),
            refused_p99_ms=fourfold.latency_ms(0.99, status=429),
            refused=fourfold.statuses().get(429, 0),
            broken=fourfold.statuses().get(0, 0),
            memory_before_mib=memory / (1 << 20),
            memory_after_mib=server.memory_bytes() / (1 << 20),
            generator_cpu_share=fourfold.cpu_s / fourfold.seconds,
        )


def _idle_share(server: Server, seconds: float) -> float:
    before_s = server.cpu_s()
    time.sleep(seconds)
    return (server.cpu_s() - before_s) / seconds


def _document(rounds: Sequence[OverloadRound]) -> dict[str, Any]:
    return {
        "medians": {name: statistics.median(map(of, rounds)) for name, of in _ROWS.items()},
        "rounds": [dataclasses.asdict(row) for row in rounds],
    }


if __name__ == "__main__":
    main()
