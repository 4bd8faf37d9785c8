"""Perf: one load point of perf_analyzer, so many requests under way at once, each answered before its next."""

import csv
import os
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from bench.triton import tools

FACES = ("http", "grpc")

_WINDOWS = 3
"""perf_analyzer compares so many windows before it believes a figure. `--stability-percentage` is so large that it
never asks for more: every point takes the same time, and what varies is shown by the rounds."""

_LIMIT_S = 300

Windows = tuple[str, ...]
"""Options of perf_analyzer that say how long a window is."""


def of_time(window_ms: int) -> Windows:
    return "-p", str(window_ms)


def of_requests(count: int) -> Windows:
    """At least so many answers each: enough of them also on a slow machine."""
    return "--measurement-mode", "count_windows", "--measurement-request-count", str(count)


class PerfFailed(Exception):
    """perf_analyzer ended with an error, as where a single request was refused: no figure of it can be used."""


class Loaded(Protocol):
    """A server with the protocol on both faces; `cpu_s` is that of all its processes so far."""

    @property
    def url(self) -> str: ...

    @property
    def grpc(self) -> str: ...

    def cpu_s(self) -> float: ...


@dataclass(frozen=True)
class Data:
    """What a request carries: a file for `--input-data`, the input's name, and how many images it has."""

    name: str
    path: Path
    images: int = 1


@dataclass(frozen=True)
class Point:
    """What one load point showed. Latency is a request's, as the client sees it.

    `images` were answered in all of its `seconds`, as the server counts them; `images_per_s` is perf_analyzer's rate in
    its windows. `client_cpu_s`, `server_cpu_s` and `others_cpu_s`, of all else on the machine, are processor seconds.
    """

    face: str
    input: str
    concurrency: int
    images_a_request: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    images: int
    seconds: float
    client_cpu_s: float
    server_cpu_s: float
    others_cpu_s: float


def measure(server: Loaded, model: str, data: Data, face: str, concurrency: int, windows: Windows) -> Point:
    """Raises PerfFailed and NoTools."""
    before = _answered(server, model), time.monotonic(), _children_cpu_s(), server.cpu_s(), _machine_cpu_s()
    row = _row(server, model, data, face, concurrency, windows)
    after = _answered(server, model), time.monotonic(), _children_cpu_s(), server.cpu_s(), _machine_cpu_s()
    images, seconds, client_s, server_s, machine_s = (late - early for early, late in zip(before, after, strict=True))
    return Point(
        face=face,
        input=data.name,
        concurrency=concurrency,
        images_a_request=data.images,
        images_per_s=float(row["Inferences/Second"]),
        p50_ms=float(row["p50 latency"]) / 1e3,
        p99_ms=float(row["p99 latency"]) / 1e3,
        images=int(images),
        seconds=seconds,
        client_cpu_s=client_s,
        server_cpu_s=server_s,
        others_cpu_s=max(0.0, machine_s - server_s - client_s),
    )


def _row(server: Loaded, model: str, data: Data, face: str, concurrency: int, windows: Windows) -> dict[str, str]:
    """Of perf_analyzer's own table."""
    program, variables = tools.perf_analyzer()
    address = server.grpc if face == "grpc" else server.url.removeprefix("http://")
    with tempfile.TemporaryDirectory(prefix="perf-") as folder:
        table = Path(folder) / "table.csv"
        command = [str(program), "-m", model, "-u", address, "-i", face, "--input-data", str(data.path)]
        command += ["-b", str(data.images), "--concurrency-range", str(concurrency), "-f", str(table)]
        command += [*windows, "-s", "999", "-r", str(_WINDOWS)]
        ended = subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
        if ended.returncode or not table.exists():
            said = (ended.stdout + ended.stderr).strip().splitlines()[-6:]
            raise PerfFailed("\n  ".join([f"perf_analyzer ended with code {ended.returncode}:", *said]))
        with table.open(newline="") as file:
            return next(csv.DictReader(file))


def _answered(server: Loaded, model: str) -> int:
    """Images so far."""
    rows = httpx.get(f"{server.url}/v2/models/{model}/stats").raise_for_status().json()["model_stats"]
    return sum(int(row["inference_count"]) for row in rows)


def _children_cpu_s() -> float:
    """Of the children that have ended and been waited for: no server is among them while it runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _machine_cpu_s() -> float:
    """Busy seconds of all cores since boot: user, nice, system, irq and softirq of proc_stat(5)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
