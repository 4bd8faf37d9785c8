"""Ordinary: an honest client beside an attack, in a process of its own, and a prober that asks for /livez.

`python -m tests.attacks.ordinary HTTP_PORT GRPC_PORT FACE` sends until its standard input ends, then prints what it
saw.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

import grpc

from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from tests.attacks.photos import number, photos
from tests.attacks.server import ROOT
from tests.attacks.wire import http1

Ask = Callable[[bytes], Awaitable[str]]

_PHOTO_PERIOD_S = 0.2  # of each of two connections
_LIVE_PERIOD_S = 0.1
_PATIENCE_S = 10.0
_LONGEST_S = 120.0  # then it ends by itself


@dataclass
class Seen:
    """Outcomes of the photos, and seconds: of each photo, and of each /livez from the moment it was due."""

    outcomes: dict[str, int] = field(default_factory=dict)
    photo_s: list[float] = field(default_factory=list)
    live_s: list[float] = field(default_factory=list)

    @property
    def answered(self) -> float:
        """The share of photos that were answered with predictions."""
        return self.outcomes.get("200", 0) / max(1, sum(self.outcomes.values()))

    @property
    def slowest_s(self) -> float:
        return max(self.photo_s, default=0.0)

    @property
    def live_p99_s(self) -> float:
        ordered = sorted(self.live_s)
        return ordered[int(0.99 * (len(ordered) - 1))] if ordered else 0.0


class Ordinary:
    """The process: it sends between entering and leaving; then `seen` is what it saw."""

    def __init__(self, http_port: int, grpc_port: int, face: str) -> None:
        self.seen = Seen()
        self._command = [sys.executable, "-m", "tests.attacks.ordinary", str(http_port), str(grpc_port), face]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has sent its first photo
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                told, _ = self._process.communicate(timeout=4 * _PATIENCE_S)
                self.seen = Seen(**json.loads(told))
        finally:
            self._process.kill()
            self._process.communicate()


class _RestPhotos:
    """Sends photos over a connection that it keeps while the server does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http1.Connection | None = None

    async def __call__(self, photo: bytes) -> str:
        return str((await self._ask(http1.post("/classify", [photo]))).status)

    async def _ask(self, request: list[bytes]) -> http1.Answer:
        connection, self._connection = self._connection, None
        try:
            connection = connection or await http1.Connection.open(self._port)
            answer = await connection.ask(*request)
        except BaseException:
            if connection:
                connection.close()
            raise
        if answer.last:
            connection.close()
        else:
            self._connection = connection
        return answer


def _rpc_photos(port: int) -> Ask:
    stub = pb_grpc.ImageClassifierStub(grpc.aio.insecure_channel(f"{http1.HOST}:{port}"))  # type: ignore[no-untyped-call]

    async def ask(photo: bytes) -> str:
        try:
            await stub.Classify(pb.ClassifyRequest(image=photo), timeout=_PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            return rpc_outcome(error)
        return "200"

    return ask


def rpc_outcome(error: grpc.aio.AioRpcError) -> str:
    """The status, and the server's own code where it sent one."""
    code = dict(error.trailing_metadata() or ()).get("sesame-code", "")
    return f"{error.code().name} {code}".strip()


async def _send_photos(ask: Ask, seen: Seen, leaving: asyncio.Event) -> None:
    turn = 0
    async for _ in _ticks(_PHOTO_PERIOD_S, leaving):
        photo = photos()[turn % len(photos())] + number() + str(id(ask)).encode()
        turn += 1
        began_s = time.monotonic()
        outcome = await _outcome(ask(photo))
        seen.photo_s.append(time.monotonic() - began_s)
        seen.outcomes[outcome] = seen.outcomes.get(outcome, 0) + 1


async def _outcome(asking: Awaitable[str]) -> str:
    try:
        return await asyncio.wait_for(asking, _PATIENCE_S)
    except TimeoutError:
        return "no answer"
    except (OSError, EOFError):
        return "disconnected"


async def _probe(port: int, seen: Seen, leaving: asyncio.Event) -> None:
    """Over a new connection each time, as orchestrators do; each is counted from when it was due."""
    async for due_s in _ticks(_LIVE_PERIOD_S, leaving, catch_up=True):
        try:
            await asyncio.wait_for(_live(port), _PATIENCE_S)
            seen.live_s.append(time.monotonic() - due_s)
        except (OSError, EOFError):  # TimeoutError is an OSError
            seen.live_s.append(_PATIENCE_S)


async def _live(port: int) -> None:
    connection = await http1.Connection.open(port)
    try:
        await connection.ask(http1.head("GET", "/livez"))
    finally:
        connection.close()


async def _ticks(period_s: float, leaving: asyncio.Event, catch_up: bool = False) -> AsyncIterator[float]:
    due_s = time.monotonic()
    while not leaving.is_set():
        yield due_s
        due_s = max(due_s + period_s, 0.0 if catch_up else time.monotonic())
        await asyncio.sleep(due_s - time.monotonic())


async def _main(http_port: int, grpc_port: int, face: str) -> None:
    seen, leaving = Seen(), asyncio.Event()
    asks: list[Ask] = [_RestPhotos(http_port), _rpc_photos(grpc_port) if face == "rpc" else _RestPhotos(http_port)]
    loop = asyncio.get_running_loop()
    loop.call_later(_LONGEST_S, leaving.set)
    photos()
    tasks = [asyncio.create_task(_send_photos(ask, seen, leaving)) for ask in asks]
    tasks.append(asyncio.create_task(_probe(http_port, seen, leaving)))
    while not seen.photo_s:
        await asyncio.sleep(0.01)
    for started in (seen.outcomes, seen.photo_s, seen.live_s):
        started.clear()  # what is counted from here on is under attack
    print("sending", flush=True)
    loop.add_reader(sys.stdin, leaving.set)  # nothing is ever written to it: readable is ended
    await asyncio.gather(*tasks)
    loop.remove_reader(sys.stdin)
    print(json.dumps(asdict(seen)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
