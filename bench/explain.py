"""`python -m bench.explain`: what `/explain` costs those who classify meanwhile, and what one explanation takes."""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench import data, seresnet50, wrk
from bench.photos import jpegs
from bench.running import Server, running

_CONNECTIONS = (1, 8, 32)
_PATIENT = ("--max-wait-ms=600000",)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.explain", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many; default 5")
    parser.add_argument("--seconds", type=int, default=10, help="of each point; default 10")
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="JPEG files to send in turn")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    options = parser.parse_args()
    photos = jpegs(options.photos)
    points = list(_points(photos, options.rounds, options.seconds))
    print(_table(points))
    if options.json:
        options.json.write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")


def _points(photos: Sequence[Path], rounds: int, seconds: int) -> Iterator[dict[str, Any]]:
    """Each load without and with one client that asks for one explanation after the other, by turns first."""
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        bundle = seresnet50.export(Path(folder))
        with running(bundle.parent.parent, "server", _PATIENT) as server:
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                for connections in _CONNECTIONS:
                    for explaining in (False, True) if number % 2 else (True, False):
                        yield _point(server, photos, connections, seconds, explaining)


def _point(server: Server, photos: Sequence[Path], connections: int, seconds: int, explaining: bool) -> dict[str, Any]:
    took_ms: list[float] = []
    with _explained(server.url, photos, took_ms) if explaining else _nothing():
        load = wrk.load(server, photos, connections, seconds)
    return {
        "connections": connections,
        "explaining": explaining,
        "images_per_s": load.images_per_s,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "others_cpu_s": load.others_cpu_s,
        "explanations": len(took_ms),
        "explain_p50_ms": statistics.median(took_ms) if took_ms else None,
    }


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _explained(url: str, photos: Sequence[Path], took_ms: list[float]) -> Iterator[None]:
    """A thread asks for explanations until the end of the context."""
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=60) as http:
            for photo in itertools.cycle(photos):
                if ended.is_set():
                    return
                began_s = time.perf_counter()
                http.post("/explain?overlay=true", content=photo.read_bytes()).raise_for_status()
                took_ms.append((time.perf_counter() - began_s) * 1e3)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _table(points: Sequence[dict[str, Any]]) -> str:
    lines = ["| connections | images/s, p50 / p99 ms | beside explanations | p99, ratio | explanations, p50 of one |"]
    lines.append("|---|---|---|---|---|")
    for connections in _CONNECTIONS:
        without, beside = (
            [point for point in points if point["connections"] == connections and point["explaining"] is explaining]
            for explaining in (False, True)
        )
        ratio = statistics.median(b["p99_ms"] / a["p99_ms"] for a, b in zip(without, beside, strict=True))
        explanations, took_ms = (
            statistics.median(point[name] for point in beside) for name in ("explanations", "explain_p50_ms")
        )
        explained = f"{explanations:.0f}, {took_ms:.0f} ms"
        lines.append(f"| {connections} | {_cell(without)} | {_cell(beside)} | {ratio:.2f} | {explained} |")
    return "\n".join(lines)


def _cell(points: Sequence[dict[str, Any]]) -> str:
    rate, p50, p99 = (
        statistics.median(point[name] for point in points) for name in ("images_per_s", "p50_ms", "p99_ms")
    )
    return f"{rate:.1f}, {p50:.0f} / {p99:.0f}"


if __name__ == "__main__":
    main()
