"""`python -m bench.shadow`: what a shadow that is ten times slower costs those who classify meanwhile."""

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench import data
from bench.arrivals import Connections
from bench.photos import jpegs
from bench.running import Server, running
from bench.shadowed_server import FAST
from bench.slow_shadow import TIMES
from bench.versions import ALIAS, OPTIONS, point, two_versions

_RESAMPLED = 1000
_PHOTOS = 100


@dataclass
class Segment:
    """A short time with or without a shadow: how long each request took, and how many photos were compared.

    `cpu_s`: of the server's own process, without that of the shadow.
    """

    shadow: bool
    copies: int = 0
    cpu_s: float = 0.0
    took_ms: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.shadow", description=__doc__)
    parser.add_argument("--pairs", type=int, default=30, help="of segments without and with a shadow; default 30")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each segment; default 2")
    parser.add_argument("--times", type=int, default=10, help="how often the shadow computes a picture; default 10")
    parser.add_argument("--networks", nargs="+", default=["no time", "demo", "SE-ResNet-50"])
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--percent", nargs="+", type=int, default=[1, 5], help="values of shadow_percent; default 1 5")
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="JPEG files to send in turn")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there too")
    options = parser.parse_args()
    photos = [path.read_bytes() for path in jpegs(options.photos)[:_PHOTOS]]
    points: list[dict[str, Any]] = []
    for network in options.networks:
        with two_versions(network) as root:
            for percent in options.percent:
                for measured in _points(root, network, percent, photos, options):
                    points.append(measured)
                    if options.json:  # after each: what has been measured is kept
                        options.json.write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")


def _points(
    root: Path, network: str, percent: int, photos: Sequence[bytes], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    os.environ[TIMES] = str(options.times)
    os.environ[FAST] = "1" if network == "no time" else ""
    with running(root, "bench.shadowed_server", (*OPTIONS, "--fronts=0", f"--shadow-percent={percent}")) as server:
        point(server, version="1", shadow="2")
        asyncio.run(_load(server, photos, 1, Segment(True), 3.0))  # opens the shadow
        for connections in options.connections:
            measured = _measured(server, photos, connections, options)
            measured |= {"network": network, "shadow_percent": percent, "times": options.times}
            print(json.dumps(measured), flush=True)
            yield measured


def _measured(server: Server, photos: Sequence[bytes], connections: int, options: argparse.Namespace) -> dict[str, Any]:
    """Pairs of segments in turns; what comes first changes with each pair."""
    segments = []
    for number in range(options.pairs):
        for shadow in (False, True) if number % 2 else (True, False):
            point(server, version="1", **({"shadow": "2"} if shadow else {}))
            segment = Segment(shadow)
            before_s = server.cpu_by_process()["server"]
            asyncio.run(_load(server, photos, connections, segment, options.seconds))
            segment.cpu_s = server.cpu_by_process()["server"] - before_s
            segment.copies = _copies(server) if shadow else 0
            segments.append(segment)
    without = [segment.took_ms for segment in segments if not segment.shadow]
    beside = [segment.took_ms for segment in segments if segment.shadow]
    return {
        "connections": connections,
        "pairs": options.pairs,
        "seconds": options.seconds,
        "requests": [sum(map(len, without)), sum(map(len, beside))],
        "copies": sum(segment.copies for segment in segments),
        "p50_ms": [_quantile(without, 0.5), _quantile(beside, 0.5)],
        "p99_ms": [_quantile(without, 0.99), _quantile(beside, 0.99)],
        "p50_ratio": _ratio(without, beside, 0.5),
        "p99_ratio": _ratio(without, beside, 0.99),
        "cpu_us": [_cpu_us(segments, shadow) for shadow in (False, True)],
        "load_average": os.getloadavg()[0],
    }


async def _load(server: Server, photos: Sequence[bytes], connections: int, segment: Segment, seconds: float) -> None:
    """So many connections that each send a photo as soon as the last was answered. What comes late still counts."""
    client = Connections(server.port)
    ends_s = time.monotonic() + seconds

    async def ask(first: int) -> None:
        number = first
        while time.monotonic() < ends_s:
            began_s = time.perf_counter()
            status, _ = await client.post(photos[number % len(photos)])
            segment.took_ms.append((time.perf_counter() - began_s) * 1e3)
            assert status == httpx.codes.OK
            number += connections

    await asyncio.gather(*(ask(first) for first in range(connections)))
    client.close()


def _cpu_us(segments: Sequence[Segment], shadow: bool) -> float:
    """Of the server's process for a request."""
    found = [segment for segment in segments if segment.shadow is shadow]
    return round(sum(each.cpu_s for each in found) / sum(len(each.took_ms) for each in found) * 1e6, 1)


def _quantile(segments: Sequence[Sequence[float]], wanted: float) -> float:
    values = sorted(each for segment in segments for each in segment)
    return round(values[min(len(values) - 1, int(wanted * len(values)))], 3)


def _ratio(without: Sequence[Sequence[float]], beside: Sequence[Sequence[float]], wanted: float) -> list[float]:
    """Of the quantiles over all segments, with a 95 % interval: pairs of segments are drawn again and again."""
    drawn = random.Random(1)
    found = []
    for _ in range(_RESAMPLED):
        picked = drawn.choices(range(len(without)), k=len(without))
        found.append(
            _quantile([beside[at] for at in picked], wanted) / _quantile([without[at] for at in picked], wanted)
        )
    cuts = statistics.quantiles(found, n=40)
    whole = _quantile(beside, wanted) / _quantile(without, wanted)
    return [round(value, 3) for value in (whole, cuts[0], cuts[-1])]


def _copies(server: Server) -> int:
    """Photos that the shadow has computed since the alias has it. Raises RuntimeError where it failed."""
    (report,) = httpx.get(f"{server.url}/models/{ALIAS}/compare").json()["shadows"]
    if report["failed"]:
        raise RuntimeError(f"the shadow failed: {report['fault']}")
    return int(report["photos"])


if __name__ == "__main__":
    main()
