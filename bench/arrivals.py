"""Arrivals: an open-loop load. Requests start when their time has come, whether or not earlier ones were answered."""

import asyncio
import json
import random
import resource
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_CONNECT_S = 30.0


@dataclass(frozen=True)
class Arrival:
    """One request: its answer's status (0: the connection broke), and the seconds from its start to its answer.

    Its start is when the generator woke up for it, up to a millisecond late, and never because of the server. `work_s`:
    the seconds that decoding it and its batch took, as the answer tells; 0 where it was refused.
    """

    start_s: float
    status: int
    latency_s: float
    work_s: float


@dataclass(frozen=True)
class Offered:
    """What a load of so many requests a second met; `cpu_s` are the generator's processor seconds."""

    rate_per_s: float
    seconds: float
    cpu_s: float
    arrivals: tuple[Arrival, ...]

    def statuses(self) -> dict[int, int]:
        return dict(sorted(Counter(arrival.status for arrival in self.arrivals).items()))

    def latency_ms(self, quantile: float, status: int = 200) -> float:
        """Of the requests answered so; NaN where there were none."""
        found = sorted(arrival.latency_s * 1e3 for arrival in self.arrivals if arrival.status == status)
        return found[min(len(found) - 1, int(len(found) * quantile))] if found else float("nan")

    def overhead_ms(self) -> float:
        """Median over the answered requests of all that was neither decoding nor the engine."""
        return 1e3 * statistics.median(row.latency_s - row.work_s for row in self.arrivals if row.status == 200)

    def goodput_per_s(self) -> float:
        """Answers a second in the middle of the load, from a quarter of its time to its end."""
        begin_s = self.seconds / 4
        answered = [arrival.start_s + arrival.latency_s for arrival in self.arrivals if arrival.status == 200]
        return sum(begin_s <= at_s < self.seconds for at_s in answered) / (self.seconds - begin_s)


def offer(
    port: int, photos: Sequence[bytes], rate_per_s: float, seconds: float, seed: int, even: bool = False, key: str = ""
) -> Offered:
    """Send photos in turn to POST /classify and await all answers. They start at equal intervals, or as Poisson's.

    `key`: the secret of an API key.
    """
    chance = random.Random(seed)
    due_s, at_s = [], 0.0
    while (at_s := at_s + (1 / rate_per_s if even else chance.expovariate(rate_per_s))) < seconds:
        due_s.append(at_s)
    before_s = _cpu_s()
    arrivals = asyncio.run(_all(port, photos, due_s, key))
    return Offered(rate_per_s, seconds, _cpu_s() - before_s, tuple(arrivals))


async def _all(port: int, photos: Sequence[bytes], due_s: Sequence[float], key: str) -> list[Arrival]:
    pool = Connections(port, key)
    began_s = time.monotonic()
    tasks = []
    for number, at_s in enumerate(due_s):
        await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
        tasks.append(asyncio.create_task(_one(pool, photos[number % len(photos)], began_s)))
    arrivals = await asyncio.gather(*tasks)
    pool.close()
    return arrivals


async def _one(pool: "Connections", photo: bytes, began_s: float) -> Arrival:
    start_s = time.monotonic()
    try:
        status, body = await pool.post(photo)
    except (OSError, EOFError):
        status, body = 0, b""
    latency_s = time.monotonic() - start_s
    timing = json.loads(body)["timing_ms"] if status == 200 else {"decode": 0, "infer": 0}
    return Arrival(start_s - began_s, status, latency_s, (timing["decode"] + timing["infer"]) / 1e3)


class Connections:
    """Kept alive and used again; as many as there are requests under way."""

    def __init__(self, port: int, key: str = "") -> None:
        self._port = port
        self._key = f"X-API-Key: {key}\r\n".encode() if key else b""
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, photo: bytes, headers: bytes = b"") -> tuple[int, bytes]:
        """The answer's status and body. `headers`: more of them, each line with its end."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            opening = asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = await asyncio.wait_for(opening, _CONNECT_S)
        writer.write(
            b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
            b"%bContent-Length: %d\r\n%b\r\n" % (self._key, len(photo), headers)
        )
        writer.write(photo)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
        body = await reader.readexactly(length)
        if b"connection: close" in lines:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(lines[0].split()[1]), body

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
