"""`python -m bench.slow_senders`: what clients that send one byte a second cost those who send photos meanwhile."""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import data, wrk
from bench.photos import jpegs
from bench.running import ROOT, Server, running

_DEMO = ROOT / "model_repository" / "demo"
_CONNECTIONS = (1, 8, 32)
_PAUSE_S = 1.0  # between two bytes
_HEAD = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_STREAMS = (
    (b"", _HEAD + bytes(1000), "http"),  # slow from the first byte of its head
    (_HEAD, bytes(1000), "http"),  # only the body is slow
    (b"", _PREFACE + bytes(1000), "grpc"),
)
"""What a sender sends: at once, byte by byte, and to which port."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.slow_senders", description=__doc__)
    parser.add_argument("--senders", type=int, default=500, help="connections that send slowly; default 500")
    parser.add_argument("--rounds", type=int, default=5, help="medians are over so many; default 5")
    parser.add_argument("--seconds", type=int, default=10, help="of each point; default 10")
    parser.add_argument("--photos", type=Path, default=data.PHOTOS, help="JPEG files to send in turn")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures of all rounds there too")
    options = parser.parse_args()
    points = list(_points(jpegs(options.photos), options.rounds, options.seconds, options.senders))
    print(_table(points))
    if options.json:
        options.json.write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")


def _points(photos: Sequence[Path], rounds: int, seconds: int, senders: int) -> Iterator[dict[str, Any]]:
    """Each load of the demo without and with slow senders, by turns first."""
    with _demo() as bundles, running(bundles) as server:
        wrk.load(server, photos, 8, 2)  # what is slow only once
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for connections in _CONNECTIONS:
                for sending in (False, True) if number % 2 else (True, False):
                    with _slow_senders(server, senders) if sending else contextlib.nullcontext():
                        load = wrk.load(server, photos, connections, seconds)
                    yield {
                        "connections": connections,
                        "slow_senders": senders if sending else 0,
                        "images_per_s": load.images_per_s,
                        "p50_ms": load.p50_ms,
                        "p95_ms": load.p95_ms,
                        "p99_ms": load.p99_ms,
                        "others_cpu_s": load.others_cpu_s,
                    }


@contextmanager
def _demo() -> Iterator[Path]:
    """A folder with the demo alone."""
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        shutil.copytree(_DEMO, Path(folder) / "demo")
        yield Path(folder)


@contextmanager
def _slow_senders(server: Server, count: int) -> Iterator[None]:
    """They send from a process of their own until the end of the context."""
    ports = {"http": server.port, "grpc": int(server.grpc.rpartition(":")[2])}
    context = multiprocessing.get_context("spawn")
    connected = context.Event()
    process = context.Process(target=_send, args=(ports, count, connected), daemon=True)
    process.start()
    try:
        if not connected.wait(30):
            raise wrk.LoadFailed("The slow senders could not all connect within 30 s.")
        yield
    finally:
        process.kill()
        process.join()


def _send(ports: dict[str, int], count: int, connected: Any) -> None:
    """Each sender has its turn once a second. A loop that sleeps between them takes little of the machine."""
    senders = [
        _Sender(ports[face], at_once, slowly)
        for _, (at_once, slowly, face) in zip(range(count), itertools.cycle(_STREAMS))
    ]
    connected.set()
    began_s = time.monotonic()
    for number in itertools.count():
        time.sleep(max(0.0, began_s + number * _PAUSE_S / count - time.monotonic()))
        senders[number % count].send_byte()


class _Sender:
    """One connection, which is made anew whenever the server has closed it."""

    def __init__(self, port: int, at_once: bytes, slowly: bytes) -> None:
        self._port = port
        self._at_once = at_once
        self._slowly = slowly
        self._connect()

    def send_byte(self) -> None:
        try:
            self._socket.send(next(self._bytes))
        except (OSError, StopIteration):
            self._socket.close()
            self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.sendall(self._at_once)
        self._bytes = (bytes((byte,)) for byte in self._slowly)


def _table(points: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| connections | p50 / p95 ms | beside slow senders | p95, ratio | images/s, ratio |",
        "|---|---|---|---|---|",
    ]
    for connections in _CONNECTIONS:
        without, beside = (
            [each for each in points if each["connections"] == connections and bool(each["slow_senders"]) is sending]
            for sending in (False, True)
        )
        ratios = [_ratio(without, beside, name) for name in ("p95_ms", "images_per_s")]
        lines.append(f"| {connections} | {_cell(without)} | {_cell(beside)} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    return "\n".join(lines)


def _ratio(without: Sequence[dict[str, Any]], beside: Sequence[dict[str, Any]], name: str) -> float:
    """The median over the rounds' pairs."""
    ratios: list[float] = [b[name] / a[name] for a, b in zip(without, beside, strict=True)]
    return statistics.median(ratios)


def _cell(points: Sequence[dict[str, Any]]) -> str:
    p50, p95 = (statistics.median(point[name] for point in points) for name in ("p50_ms", "p95_ms"))
    return f"{p50:.1f} / {p95:.1f}"


if __name__ == "__main__":
    main()
