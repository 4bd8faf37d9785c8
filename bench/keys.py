"""`python -m bench.keys`: whether API keys get what their rates allow, and what one key's flood does to another."""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import arrivals, data
from bench.arrivals import Offered
from bench.photos import jpegs
from bench.running import ROOT, Server, running
from server.keys.new_key import new_secret, table

_RATES = (5, 8, 10, 12, 15)  # images a second; each of one key that offers half of it, and of one that offers twice
_BURST = 5
_CALM_PER_S, _FLOOD_ALLOWED_PER_S = 20, 20


@dataclass(frozen=True)
class KeyRate:
    """What one of ten keys offered and got at the same time as the others. `allowed`: images that its bucket has in
    that time, or all that it offered if these are fewer.
    """

    rate: float
    offered: int
    answered: int
    refused: int
    allowed: float

    @property
    def off(self) -> float:
        """How far it is from what is allowed, as a part of that."""
        return self.answered / self.allowed - 1


@dataclass(frozen=True)
class Flood:
    """One turn: p50 and p95 in milliseconds of a calm key, and the server's CPU time: `alone`, while another key sends
    what it may (`within`), and while that one sends far more (`flooded`).
    """

    alone_p50_ms: float
    alone_p95_ms: float
    within_p50_ms: float
    within_p95_ms: float
    flooded_p50_ms: float
    flooded_p95_ms: float
    flood_answered: int
    flood_refused: int
    within_cpu_s: float
    flooded_cpu_s: float

    @property
    def refused_cpu_ms(self) -> float:
        """CPU time of the server for a request of the flood that it refused."""
        return 1e3 * (self.flooded_cpu_s - self.within_cpu_s) / self.flood_refused

    @property
    def moved(self) -> float:
        """How far the flood moves p95 beyond what the other key's allowed images do."""
        return self.flooded_p95_ms / self.within_p95_ms - 1


def main() -> None:
    """The medians go to standard output, every figure to --json."""
    parser = argparse.ArgumentParser(prog="python -m bench.keys", description=__doc__)
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of the JPEG files to send in turn")
    parser.add_argument("--pairs", type=int, default=5, help="medians are over so many; default 5")
    parser.add_argument("--seconds", type=int, default=10, help="of each load; default 10")
    parser.add_argument("--flood", type=int, default=200, help="requests a second of the flood; default 200")
    parser.add_argument("--fronts", type=int, default=0, help="default 0: one process")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there too")
    options = parser.parse_args()
    photos = [path.read_bytes() for path in jpegs(options.photos)]
    before = os.getloadavg()[0]  # far above 1, other programs have most of the time, and times say nothing
    with _served(options.fronts) as (server, secrets):
        rates = _rates(server, secrets, photos, options.seconds)
        pairs = []
        for number in range(options.pairs):
            print(f"pair {number + 1} of {options.pairs}", file=sys.stderr, flush=True)
            pairs.append(_pair(server, secrets, photos, options.seconds, options.flood, number))
    print(f"furthest from what a key is allowed: {100 * max(abs(rate.off) for rate in rates):.1f} %")
    print(f"p95 alone: {statistics.median(pair.alone_p95_ms for pair in pairs):.2f} ms")
    print(f"p95 while another key sends what it may: {statistics.median(pair.within_p95_ms for pair in pairs):.2f} ms")
    print(f"p95 while that key floods: {statistics.median(pair.flooded_p95_ms for pair in pairs):.2f} ms")
    print(f"moved by the flood (median of the pairs): {100 * statistics.median(pair.moved for pair in pairs):.1f} %")
    print(f"server CPU for a refused request: {statistics.median(pair.refused_cpu_ms for pair in pairs):.2f} ms")
    if options.json:
        document = {
            "fronts": options.fronts,
            "seconds": options.seconds,
            "flood_per_s": options.flood,
            "load_average_before": before,
            "furthest_off": max(abs(rate.off) for rate in rates),
            "p95_moved": statistics.median(pair.moved for pair in pairs),
            "rates": [asdict(rate) | {"off": rate.off} for rate in rates],
            "pairs": [asdict(pair) | {"moved": pair.moved, "refused_cpu_ms": pair.refused_cpu_ms} for pair in pairs],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _served(fronts: int) -> Iterator[tuple[Server, dict[str, str]]]:
    """The demo bundle, and the secrets of the keys by name."""
    names = [f"{kind}_{rate}" for kind in ("half", "twice") for rate in _RATES]
    secrets = {name: new_secret() for name in (*names, "calm", "flood")}
    limits = {name: (float(name.partition("_")[2]), _BURST) for name in names}
    limits["flood"] = _FLOOD_ALLOWED_PER_S, _FLOOD_ALLOWED_PER_S
    text = ""
    for name, secret in secrets.items():
        text += table(name, secret)
        if name in limits:
            text += "rate = {}\nburst = {}\n".format(*limits[name])
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        path = Path(folder) / "keys.toml"
        path.write_text(text)
        options = ["--keys", str(path), "--no-metrics-need-key", "--fronts", str(fronts)]
        with running(ROOT / "model_repository", options=options) as server:
            yield server, secrets


def _rates(server: Server, secrets: dict[str, str], photos: Sequence[bytes], seconds: int) -> list[KeyRate]:
    """All ten keys at once."""

    def one(name: str) -> KeyRate:
        rate = float(name.partition("_")[2])
        share = 0.5 if name.startswith("half") else 2.0
        offered = arrivals.offer(server.port, photos, rate * share, seconds, 0, even=True, key=secrets[name])
        statuses, count = offered.statuses(), len(offered.arrivals)
        return KeyRate(rate, count, statuses.get(200, 0), statuses.get(429, 0), min(count, rate * seconds + _BURST))

    names = [name for name in secrets if "_" in name]
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(one, names))


def _pair(
    server: Server, secrets: dict[str, str], photos: Sequence[bytes], seconds: int, flood_per_s: int, number: int
) -> Flood:
    """Three loads of the calm key, in another order in every second turn."""

    def calm(other_per_s: int) -> tuple[Offered, float, dict[int, int]]:
        before_s = server.cpu_s()
        with ProcessPoolExecutor(1) as pool:  # a process of its own: its work is not to delay the other's clock
            load = (server.port, photos, other_per_s, seconds, number + 1, False, secrets["flood"])
            other = pool.submit(arrivals.offer, *load) if other_per_s else None
            offered = arrivals.offer(server.port, photos, _CALM_PER_S, seconds, number, key=secrets["calm"])
            statuses = other.result().statuses() if other else {}
        server.await_idle()
        return offered, server.cpu_s() - before_s, statuses

    rates = [0, _FLOOD_ALLOWED_PER_S, flood_per_s]
    met = {rate: calm(rate) for rate in (reversed(rates) if number % 2 else rates)}
    (alone, _, _), (within, within_cpu_s, _), (flooded, flooded_cpu_s, flood) = (met[rate] for rate in rates)
    return Flood(
        alone.latency_ms(0.5),
        alone.latency_ms(0.95),
        within.latency_ms(0.5),
        within.latency_ms(0.95),
        flooded.latency_ms(0.5),
        flooded.latency_ms(0.95),
        flood.get(200, 0),
        flood.get(429, 0),
        within_cpu_s,
        flooded_cpu_s,
    )


if __name__ == "__main__":
    main()
