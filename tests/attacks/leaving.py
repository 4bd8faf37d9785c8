"""Leaving: SIGTERM under keep-alive load, with an upload that never ends and a client that never reads."""

import asyncio
import contextlib
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.attacks.attack import MIB, Target, at_once
from tests.attacks.photos import made, number
from tests.attacks.server import Server
from tests.attacks.wire import senders
from tests.attacks.wire.http1 import Connection, head, post

DELAY_S = 1.0
BEYOND_S = 3.0
"""What the exit may take longer than the delay; the work in hand is a few milliseconds' here."""

_GIVEN_UP_S = 7.0
_NOTICED_S = 0.5  # of the delay: until a load balancer sees that the server is not ready
_CLIENTS = 8
_CALLERS = 4
_ENOUGH = 200
_LARGE = 64
_LIMIT_S = 60.0


@dataclass
class Left:
    """How it left. `seconds` from SIGTERM to the exit; `told` counts the load's outcomes."""

    seconds: float = 0.0
    told: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


class Leaver(Protocol):
    """A running server on the demo bundle, whose process is ours. `log` is all it has said."""

    http_port: int
    grpc_port: int

    def terminate(self) -> None: ...

    def exit_code(self, limit_s: float) -> int | None: ...

    def log(self) -> str: ...


class _Load:
    """Keep-alive clients of both faces. They open no new connection once the server was seen to be unready."""

    def __init__(self, target: Target, left: Left) -> None:
        self._target = target
        self._left = left
        self._photo = made(64, 64, 0)
        self.signalled_s: float | None = None

    async def run(self) -> None:
        await at_once(*(self._rest() for _ in range(_CLIENTS)), *(self._rpc() for _ in range(_CALLERS)))

    def _over(self) -> bool:
        return self.signalled_s is not None and time.monotonic() - self.signalled_s > _NOTICED_S

    async def _rest(self) -> None:
        while not self._over():
            with contextlib.suppress(OSError):
                connection = await Connection.open(self._target.http_port)
                try:
                    await self._keep_asking(connection)
                finally:
                    connection.close()

    async def _keep_asking(self, connection: Connection) -> None:
        """Until the server closes the connection, as it says or as it does."""
        while True:
            try:
                answer = await connection.ask(*post("/classify", [self._photo, number()]))
            except (OSError, EOFError):
                self._left.told["never accepted"] += 1
                return
            self._left.told[str(answer.status)] += 1
            if answer.last or answer.status != 200:
                return

    async def _rpc(self) -> None:
        async with senders.stub(self._target) as stub:
            while not self._over():
                outcome = await senders.call(stub, pb.ClassifyRequest(image=self._photo + number()))
                self._left.told[outcome] += 1
                if outcome != "OK":
                    return


def left(options: Sequence[str] = ()) -> Left:
    """Start a server, load it, tell it to leave, and see how it does. Raises ServerFailed where it does not start."""
    with (
        tempfile.TemporaryDirectory(prefix="sesame-leaving-") as folder,
        Server(Path(folder), [f"--drain-delay-s={DELAY_S:.0f}", *options]) as server,
    ):
        return asyncio.run(asyncio.wait_for(seen_off(server, DELAY_S, DELAY_S + BEYOND_S), _LIMIT_S))


async def seen_off(server: Leaver, delay_s: float, within_s: float) -> Left:
    """Load a server whose `drain_delay_s` is given, tell it to leave, and see how it does. It must take less than
    `within_s` to be gone.
    """
    left = Left()
    target = Target(server.http_port, server.grpc_port, "both", 0)
    async with _unread(target), _unfinished(target):
        load = _Load(target, left)
        loading = asyncio.create_task(load.run())
        try:
            while left.told.total() < _ENOUGH:
                await asyncio.sleep(0.01)
            load.signalled_s = time.monotonic()
            server.terminate()
            code = await asyncio.to_thread(server.exit_code, within_s + _GIVEN_UP_S)
            left.seconds = time.monotonic() - load.signalled_s
            if code is not None:
                await loading
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
    left.complaints = _complaints(left, code, server.log(), delay_s, within_s)
    return left


def _complaints(left: Left, code: int | None, log: str, delay_s: float, within_s: float) -> list[str]:
    if code is None:
        return [f"still there {within_s - delay_s + _GIVEN_UP_S:.0f} s after the delay"]
    said = re.findall(r" stopped.* images admitted=(\d+)", log)  # by each front, where there are several processes
    admitted = sum(map(int, said)) if said else None
    expected = left.told["200"] + left.told["OK"] + _LARGE
    found = {
        f"exit code {code}": code != 0,
        f"left {left.seconds - delay_s:.1f} s after the delay": left.seconds >= within_s,
        f"{left.told['503']} clients met a 503": left.told["503"] > 0,
        f"admitted {admitted}, answered {expected}": admitted != expected,
        f"answered otherwise: {dict(left.told)}": any(_strange(outcome) for outcome in left.told),
    }
    return [complaint for complaint, is_so in found.items() if is_so]


def _strange(outcome: str) -> bool:
    return outcome not in ("200", "503", "OK", "never accepted")


@contextlib.asynccontextmanager
async def _unread(target: Target) -> AsyncIterator[None]:
    """A client whose answer, 1 MB for 64 photos, has been sent for and is never read."""
    connection = await Connection.open(target.http_port, received_bytes=4096)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        photo = b'--Bx\r\nContent-Disposition: form-data; filename="a"\r\n\r\n' + made(64, 64, 1) + b"\r\n"
        form = [photo * _LARGE, b"--Bx--\r\n"]
        await connection.send(*post("/classify?top_k=200", form, "multipart/form-data; boundary=Bx"))
        while await _classified(target.http_port) < _LARGE:
            await asyncio.sleep(0.01)
        yield
    finally:
        connection.close()


async def _classified(port: int) -> float:
    """Images that the server says it has answered."""
    connection = await Connection.open(port)
    try:
        text = (await connection.ask(head("GET", "/metrics"))).body.decode()
    finally:
        connection.close()
    return sum(float(count) for count in re.findall(r'^sesame_images_total\{.*outcome="ok".*\} (\S+)$', text, re.M))


@contextlib.asynccontextmanager
async def _unfinished(target: Target) -> AsyncIterator[None]:
    """An upload of which only a part has come."""
    connection = await Connection.open(target.http_port)
    try:
        headers = {"Content-Type": "image/jpeg", "Content-Length": str(10 * MIB)}
        await connection.send(head("POST", "/classify", headers), bytes(MIB))
        yield
    finally:
        connection.close()
