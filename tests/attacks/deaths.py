"""`python -m tests.attacks.deaths`: kills fronts and cores of a real server under load, and tells what was lost.

A front takes its own connections with it, and nothing else. A core takes what is under way: its callers get 500 or 503,
and no connection breaks.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks.attack import MIB, at_once
from tests.attacks.photos import made, number
from tests.attacks.server import Server
from tests.attacks.wire.http1 import Connection, post

_CLIENTS = 12
_PAUSE_S = 0.03  # of a client between two photos: the server is busy, and not full
_QUIET_S = 10.0
_AFTER_S = 1.0  # from the moment a process is back to the next kill
_SETTLED_S = 10.0
_LIMIT_S = 60.0
_OF_A_CORE = {"200", "500 engine_failed", "503 not_ready"}
_SHARED = Path("/dev/shm")
_GROWTH = 1.2  # of memory
_SLOWER = 1.5  # p99 of those who keep their connection, while fronts die; or 20 ms more
_SLOWER_S = 0.02


@dataclass
class Seen:
    """What came of the requests of one phase. `answered_s`: seconds of each that was answered."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answered_s: list[float] = field(default_factory=list)

    def p99_s(self) -> float:
        ordered = sorted(self.answered_s)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] if ordered else 0.0


class Load:
    """Keep-alive clients. `seen` is what came of their requests since it was set."""

    def __init__(self, port: int) -> None:
        self.seen = Seen()
        self._port = port
        self._photo = made(64, 64, 0)

    async def run(self) -> None:
        """Until cancelled."""
        await at_once(*(self._client() for _ in range(_CLIENTS)))

    async def _client(self) -> None:
        while True:
            try:
                connection = await Connection.open(self._port)
            except OSError:  # no front listens at the moment
                self.seen.outcomes["not connected"] += 1
                await asyncio.sleep(_PAUSE_S)
                continue
            try:
                while await self._ask(connection):
                    await asyncio.sleep(_PAUSE_S)
            finally:
                connection.close()

    async def _ask(self, connection: Connection) -> bool:
        began_s, seen = time.monotonic(), self.seen
        try:
            answer = await connection.ask(*post("/classify", [self._photo, number()]))
        except (OSError, EOFError):
            seen.outcomes["broken"] += 1
            return False
        if answer.status == 200:
            seen.outcomes["200"] += 1
            seen.answered_s.append(time.monotonic() - began_s)
        else:
            seen.outcomes[f"{answer.status} {json.loads(answer.body)['code']}"] += 1
        return not answer.last


@dataclass
class Deaths:
    """`away_s`: how long each killed process was away. `memory` and `shared`: bytes at the start and at the end."""

    quiet: Seen
    fronts: Seen
    cores: Seen
    away_s: dict[str, list[float]]
    memory: tuple[int, int]
    shared: tuple[int, int]

    def harm(self, kills: int) -> list[str]:
        slow_s = max(self.quiet.p99_s() * _SLOWER, self.quiet.p99_s() + _SLOWER_S)
        found = {
            f"a front's death: {dict(self.fronts.outcomes)}": not self.fronts.outcomes.keys() <= {"200", "broken"},
            f"{self.fronts.outcomes['broken']} connections broke": self.fronts.outcomes["broken"] > kills * _CLIENTS,
            f"p99 {self.fronts.p99_s() * 1e3:.0f} ms while fronts died": self.fronts.p99_s() > slow_s,
            f"a core's death: {dict(self.cores.outcomes)}": not self.cores.outcomes.keys() <= _OF_A_CORE,
            f"memory {self.memory[1] // MIB} MiB": self.memory[1] > self.memory[0] * _GROWTH,
            f"shared memory {self.shared[1]} bytes": self.shared[1] > self.shared[0],
        }
        return [harm for harm, is_so in found.items() if is_so]


def died(kills: int, fronts: int) -> Deaths:
    """Start a server of so many fronts, and kill `kills` fronts and as many cores, one after another."""
    with (
        tempfile.TemporaryDirectory(prefix="sesame-deaths-") as folder,
        Server(Path(folder), [f"--fronts={fronts}"]) as server,
    ):
        return asyncio.run(_died(server, kills, fronts))


async def _died(server: Server, kills: int, fronts: int) -> Deaths:
    load = Load(server.http_port)
    running = asyncio.create_task(load.run())
    try:
        await asyncio.sleep(_QUIET_S / 2)  # what a first use takes is no death's doing
        memory, shared = server.memory_bytes(), _shared_bytes()
        quiet = load.seen = Seen()
        await asyncio.sleep(_QUIET_S)
        away_s: dict[str, list[float]] = {"front": [], "core": []}
        of_fronts = load.seen = Seen()
        await asyncio.sleep(_AFTER_S)  # until the requests of the phase before are answered
        for kill in range(kills):
            away_s["front"].append(await _kill(server, f"front-{kill % fronts}"))
        of_cores = load.seen = Seen()
        await asyncio.sleep(_AFTER_S)
        for _ in range(kills):
            away_s["core"].append(await _kill(server, "core"))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(_SETTLED_S)
    return Deaths(quiet, of_fronts, of_cores, away_s, (memory, server.memory_bytes()), (shared, _shared_bytes()))


async def _kill(server: Server, name: str) -> float:
    """Kill a process, and return after how many seconds its successor was ready. Then wait a moment."""
    ready_before = server.times_ready(name)
    killed_s = time.monotonic()
    os.kill(server.children()[name], signal.SIGKILL)
    async with asyncio.timeout(_LIMIT_S):
        while server.times_ready(name) == ready_before:
            await asyncio.sleep(0.02)
    away_s = time.monotonic() - killed_s
    await asyncio.sleep(_AFTER_S)
    return away_s


def _shared_bytes() -> int:
    return sum(path.stat().st_size for path in _SHARED.iterdir() if path.is_file())


def main() -> int:
    """Exit codes: 0 no harm, 1 harm, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.deaths", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of fronts, and as many of cores; default 20")
    parser.add_argument("--fronts", type=int, default=2)
    options = parser.parse_args()
    deaths = died(options.kills, options.fronts)
    for name, seen in (("quiet", deaths.quiet), ("fronts die", deaths.fronts), ("cores die", deaths.cores)):
        print(f"{name}: p99 {seen.p99_s() * 1e3:.1f} ms, {dict(seen.outcomes)}")
    for name, away_s in deaths.away_s.items():
        print(f"{name}: back after {min(away_s):.2f} to {max(away_s):.2f} s")
    print(f"memory {deaths.memory[0] // MIB} -> {deaths.memory[1] // MIB} MiB; /dev/shm {deaths.shared[1]} bytes")
    harm = deaths.harm(options.kills)
    print("harm:", "; ".join(harm) or "none")
    return 1 if harm else 0


if __name__ == "__main__":
    sys.exit(main())
