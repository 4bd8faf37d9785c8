"""Wrk: one load point, so many connections that each send a photo as soon as the last was answered."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_SCRIPT = Path(__file__).with_name("post.lua")
_TIMEOUT_S = 60


class Loaded(Protocol):
    """A server that answers `POST /classify`; its `cpu_s` is that of all its processes so far."""

    @property
    def url(self) -> str: ...

    def cpu_s(self) -> float: ...

    def await_idle(self) -> None: ...


class NoWrk(Exception):
    """The load generator is not installed; the message says how to install it."""


class LoadFailed(Exception):
    """Some request was not answered with 2xx, or wrk itself failed: no figure of it can be used."""


@dataclass(frozen=True)
class Load:
    """What one load point showed. Latency is from a request's first byte out to its answer's last byte in.

    `images_per_s` is the steady rate, the slope of answers over time (post.lua says why), and `requests_per_s` what wrk
    itself calls Requests/sec: all answers by all the time, with the first ones' way in and without those under way at
    the end.

    `errors`: answers that were not 2xx, and socket errors.

    `wrk_cpu_s`, `server_cpu_s` and `others_cpu_s`, of all else on the machine, are processor seconds during it.
    """

    connections: int
    seconds: float
    images: int
    images_per_s: float
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    wrk_cpu_s: float
    server_cpu_s: float
    others_cpu_s: float


def program() -> str:
    """The path of wrk; raises NoWrk where there is none."""
    found = shutil.which("wrk")
    if found is None:
        raise NoWrk("The load generator wrk is missing: install it with 'apt-get install wrk'.")
    return found


def load(server: Loaded, photos: Sequence[Path], connections: int, seconds: int) -> Load:
    """Load a server and return when it is idle again. Raises LoadFailed unless every answer was 2xx."""
    found = measure(server, photos, connections, seconds)
    if found.errors:
        raise LoadFailed(f"Of {found.images} requests {found.errors} were not answered with 2xx, or not at all.")
    if not found.images_per_s:
        raise LoadFailed(f"{found.images} answers in that time make no rate: give more --seconds.")
    return found


def measure(
    server: Loaded, bodies: Sequence[Path], connections: int, seconds: int, content_type: str = "image/jpeg"
) -> Load:
    """Load a server with files as bodies, and return when it is idle again. Errors are counted, and are in no rate.

    Too few answers for a rate make `images_per_s` 0.

    Raises LoadFailed where wrk itself fails.
    """
    options = [f"-t1 -c{connections} -d{seconds}s --latency --timeout {_TIMEOUT_S}s -s".split(), [str(_SCRIPT)]]
    command = [program(), *options[0], *options[1], f"{server.url}/classify", "--", content_type, *map(str, bodies)]
    before_s = _children_cpu_s(), server.cpu_s(), _machine_cpu_s()
    ended = subprocess.run(command, capture_output=True, text=True)
    after_s = _children_cpu_s(), server.cpu_s(), _machine_cpu_s()
    wrk_s, server_s, machine_s = (after - before for before, after in zip(before_s, after_s, strict=True))
    found = _result(ended)
    server.await_idle()
    taken_s, good = found["duration_us"] / 1e6, found["requests"] - found["not_2xx"]
    return Load(
        connections=connections,
        seconds=taken_s,
        images=found["requests"],
        images_per_s=found["steady_per_s"] * good / max(1, found["requests"]),
        requests_per_s=good / taken_s,
        p50_ms=found["p50_us"] / 1e3,
        p95_ms=found["p95_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
        errors=found["not_2xx"] + found["socket_errors"],
        wrk_cpu_s=wrk_s,
        server_cpu_s=server_s,
        others_cpu_s=max(0.0, machine_s - server_s - wrk_s),
    )


def _result(ended: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    if ended.returncode != 0 or not lines:
        raise LoadFailed(f"wrk failed with code {ended.returncode}: {ended.stderr.strip() or ended.stdout.strip()}")
    found: dict[str, Any] = json.loads(lines[0])
    return found


def _children_cpu_s() -> float:
    """Of the children that have ended and been waited for: the server is not among them while it runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _machine_cpu_s() -> float:
    """Busy seconds of all cores since boot: user, nice, system, irq and softirq of proc_stat(5)."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
