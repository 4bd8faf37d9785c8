"""`python -m bench.soak`: resident memory over many requests, on an engine that takes no time."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from bench import wrk
from bench.running import ROOT, running

_DEMO = ROOT / "model_repository" / "demo"
_CONNECTIONS, _PHOTOS, _SIDE = 32, 500, 64
_PIECE_S = 10
_SETTLED = 20_000
"""Requests until caches and pools are as large as they get; growth is counted from there."""


@dataclass(frozen=True)
class MemorySample:
    """The server's memory after that many requests, and the rate since the sample before."""

    requests: int
    memory_mib: float
    requests_per_s: float


def main() -> None:
    """Exit codes: 0 memory grew by less than 5 %, 1 by more."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="at least so many; default 200000")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was seen there too")
    options = parser.parse_args()
    seen = []
    for row in _soak(options.requests):
        print(f"{row.requests:>8} requests {row.memory_mib:8.1f} MiB {row.requests_per_s:8.0f}/s", flush=True)
        seen.append(row)
    settled = next(row for row in seen if row.requests >= min(_SETTLED, options.requests))
    growth = seen[-1].memory_mib / settled.memory_mib - 1
    print(f"memory grew by {growth:.1%} from request {settled.requests} on")
    if options.json:
        options.json.write_text(json.dumps({"growth": growth, "seen": [asdict(row) for row in seen]}, indent=1) + "\n")
    sys.exit(growth >= 0.05)


def _soak(requests: int) -> Iterator[MemorySample]:
    with _photos() as photos, _demo() as bundles, running(bundles, "bench.fast_server") as server:
        done = 0
        while done < requests:
            load = wrk.load(server, photos, _CONNECTIONS, _PIECE_S)
            done += load.images
            yield MemorySample(done, server.memory_bytes() / (1 << 20), load.requests_per_s)


@contextmanager
def _photos() -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(_PHOTOS)]
        for path in paths:
            Image.effect_noise((_SIDE, _SIDE), 60).convert("RGB").save(path)
        yield paths


@contextmanager
def _demo() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        shutil.copytree(_DEMO, Path(folder) / "demo")
        yield Path(folder)


if __name__ == "__main__":
    main()
