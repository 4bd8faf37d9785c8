"""`python -m bench.load`: images/s and latency over HTTP, beside what decoding and the engine take alone."""

import argparse
import dataclasses
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bench import alone, data, figures, seresnet50, wrk
from bench.figures import CONNECTIONS, LoadRound
from bench.inside import Counts, Inside
from bench.photos import NoPhotos, jpegs
from bench.running import ROOT, Server, ServerFailed, running
from bundle.errors import BundleError, ImageError

USAGE_ERROR = 2

_DEMO = ROOT / "model_repository" / "demo"
_TURNS = 4
"""A point lasts long enough for each connection to be answered so often, or its rate would be that of few batches."""


def main() -> None:
    """Exit codes: 0 measured, 1 a server or a request failed, 2 usage, or wrk is missing."""
    options = _parser().parse_args()
    try:
        wrk.program()
        results = _measured(jpegs(options.photos), options.rounds, options.seconds)
    except (wrk.NoWrk, NoPhotos) as error:
        _leave(str(error), USAGE_ERROR)
    except (ServerFailed, wrk.LoadFailed, seresnet50.ExportFailed, BundleError, ImageError) as error:
        _leave(str(error), 1)
    for rounds in results:
        print(figures.table(rounds), end="\n\n")
    if options.json:
        text = json.dumps([_document(rounds) for rounds in results], indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


def _measured(photos: Sequence[Path], rounds: int, seconds: int) -> list[list[LoadRound]]:
    """The rounds of each bundle; bundles take turns, so that a drift of the machine meets them all."""
    with _bundles() as bundles:
        benches = [(bundle, alone.Bench(bundle, photos)) for bundle in bundles]
        results: list[list[LoadRound]] = [[] for _ in benches]
        for number in range(1, rounds + 1):
            for (bundle, bench), result in zip(benches, results, strict=True):
                print(f"round {number} of {rounds}: {bundle.parent.name}", file=sys.stderr, flush=True)
                result.append(_round(bundle, bench, photos, seconds))
    return results


@contextmanager
def _bundles() -> Iterator[list[Path]]:
    """The folders of a fresh SE-ResNet-50 and of a copy of the demo, each the only bundle under its root."""
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        large = seresnet50.export(Path(folder) / "large")
        small = Path(folder) / "small" / _DEMO.name
        shutil.copytree(_DEMO, small)
        yield [large, max(small.glob("[1-9]*"), key=lambda version: int(version.name))]


def _round(bundle: Path, bench: alone.Bench, photos: Sequence[Path], seconds: int) -> LoadRound:
    with running(bundle.parent.parent) as server:
        before = bench.measure()
        least_s = [_TURNS * connections / before.ceiling_per_s for connections in CONNECTIONS]
        points = [
            _point(server, photos, connections, max(seconds, math.ceil(least)))
            for connections, least in zip(CONNECTIONS, least_s, strict=True)
        ]
        after = bench.measure()
    loads, insides = zip(*points, strict=True)
    return LoadRound(bundle.parent.name, alone.mean(before, after), loads, insides)


def _point(server: Server, photos: Sequence[Path], connections: int, seconds: int) -> tuple[wrk.Load, Inside]:
    before = Counts.of(server.metrics())
    load = wrk.load(server, photos, connections, seconds)
    return load, Inside.between(before, Counts.of(server.metrics()))


def _document(rounds: Sequence[LoadRound]) -> dict[str, Any]:
    return {
        "bundle": rounds[0].bundle,
        "cores": rounds[0].alone.cores,
        "medians": {
            "loads": figures.median_loads(rounds),
            "inside": figures.median_inside(rounds),
            "parts": figures.median_parts(rounds),
        },
        "rounds": [
            {
                **dataclasses.asdict(row),
                "ceiling_per_s": row.alone.ceiling_per_s,
                "ratio": row.ratio,
                "overhead_ms": row.overhead_ms,
            }
            for row in rounds
        ],
    }


def _leave(message: str, code: int) -> NoReturn:
    print(f"bench.load: {message}", file=sys.stderr)
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="folder of the JPEG files to send in turn")
    parser.add_argument("--rounds", type=_count, default=3, help="medians are over so many; default 3")
    parser.add_argument(
        "--seconds", type=_count, default=10, help="of each load point, or longer where the network is slow; default 10"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
