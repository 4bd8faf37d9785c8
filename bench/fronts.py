"""`python -m bench.fronts`: what several fronts bring and cost, and what the core costs for an image."""

import argparse
import dataclasses
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bench import core_alone, data, wrk
from bench.core_alone import CoreAlone
from bench.photos import jpegs
from bench.running import ROOT, Server, running

_DEMO = ROOT / "model_repository" / "demo" / "1"
_SIDE, _PHOTOS = 64, 16
_FP32 = ("--engine=onnxruntime-cpu", "--precision=fp32", "--max-wait-ms=600000")
_LEAST_S = 5  # of SE-ResNet-50, or too few batches would be answered
_BATCH_S = 0.0012  # of 32 images of SE-ResNet-50 in a GPU of 2024


@dataclass(frozen=True)
class Point:
    """One load point of one server. `cpu_us`: CPU µs for a request, by process; `wrk` is the generator."""

    network: str
    fronts: int
    connections: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    others_cpu_s: float


@dataclass(frozen=True)
class Round:
    points: list[Point]
    alone: list[CoreAlone]


def main() -> None:
    """Every figure of every round goes to --json, the medians to standard output."""
    parser = argparse.ArgumentParser(prog="python -m bench.fronts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many; default 5")
    parser.add_argument("--seconds", type=int, default=10, help="of each point; default 10")
    parser.add_argument("--quick", action="store_true", help="one round, 2 s a point, without SE-ResNet-50: a look")
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="JPEG files for SE-ResNet-50")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    options = parser.parse_args()
    rounds, seconds = (1, 2) if options.quick else (options.rounds, options.seconds)
    with _bundles(not options.quick) as bundles, _photos() as small:
        large = None if options.quick else jpegs(options.photos)
        found = []
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            found.append(_round(bundles, small, large, seconds))
    medians = _medians(found)
    for line in medians:
        print(json.dumps(line))
    if options.json:
        document = {"medians": medians, "rounds": [dataclasses.asdict(one) for one in found]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _round(bundles: Sequence[Path], small: Sequence[Path], large: Sequence[Path] | None, seconds: int) -> Round:
    """The servers in turns, then the core alone on each bundle."""
    points = []
    for fronts in (0, 1, 2):
        with running(bundles[0].parent.parent, "bench.fast_server", (f"--fronts={fronts}",)) as server:
            points.append(_point(server, "no time", fronts, small, 32, seconds))
    if large:
        for fronts in (0, 2):
            with running(bundles[-1].parent.parent, "server", (*_FP32, f"--fronts={fronts}")) as server:
                points += [
                    _point(server, "SE-ResNet-50", fronts, large, many, max(seconds, _LEAST_S)) for many in (1, 32)
                ]
    alone = [
        core_alone.measure(bundle, batch_s, generators=2, in_flight=in_flight, seconds=seconds)
        for bundle in bundles
        for batch_s, in_flight in ((0.0, 32), (_BATCH_S, 128))
    ]
    return Round(points, alone)


def _point(server: Server, network: str, fronts: int, photos: Sequence[Path], connections: int, seconds: int) -> Point:
    before_s = server.cpu_by_process()
    load = wrk.load(server, photos, connections, seconds)
    after_s = server.cpu_by_process()
    spent_s = {name: after_s[name] - before_s[name] for name in after_s} | {"wrk": load.wrk_cpu_s}
    return Point(
        network,
        fronts,
        connections,
        load.images_per_s,
        load.p50_ms,
        load.p99_ms,
        {name: seconds / load.images * 1e6 for name, seconds in spent_s.items()},
        load.others_cpu_s,
    )


def _medians(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """For each point, the median of each of its figures."""
    series = [*zip(*(one.points for one in rounds), strict=True), *zip(*(one.alone for one in rounds), strict=True)]
    return [_median([dataclasses.asdict(one) for one in same]) for same in series]


def _median(same: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in same[0].items():
        values = [one[name] for one in same]
        if isinstance(value, dict):
            found[name] = _median(values)
        else:
            found[name] = round(statistics.median(values), 3) if isinstance(value, float) else value
    return found


@contextmanager
def _bundles(large: bool) -> Iterator[list[Path]]:
    """A copy of the demo, and where asked for SE-ResNet-50, each the only bundle under its root."""
    from bench import seresnet50  # generators import this module again, and need no torch

    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        demo = Path(folder) / "small" / "demo" / "1"
        shutil.copytree(_DEMO, demo)
        yield [demo, seresnet50.export(Path(folder) / "large")] if large else [demo]


@contextmanager
def _photos() -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(_PHOTOS)]
        for path in paths:
            Image.effect_noise((_SIDE, _SIDE), 60).convert("RGB").save(path)
        yield paths


if __name__ == "__main__":
    main()
