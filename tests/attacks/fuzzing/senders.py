"""Senders: fuzzed requests to a server over many connections, and what it said to each."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tests.attacks.attack import Target, at_once, is_bug
from tests.attacks.fuzzing.seeds import CLASSIFY, INFER, Requests
from tests.attacks.ordinary import rpc_outcome
from tests.attacks.wire.http1 import HOST, Connection

_CONNECTIONS = 16
_CHANNELS, _CALLS = 4, 8
_PATIENCE_S = 30.0
_BROKEN_S = 0.5  # a request that is not whole may be waited for, and has no answer then
_KEPT = 50


Calls = dict[str, Callable[..., Awaitable[bytes]]]
"""By the name of the method."""


@dataclass
class Said:
    """Outcomes, and the files that the offending requests were written to."""

    folder: Path
    outcomes: Counter[str] = field(default_factory=Counter)
    offending: list[Path] = field(default_factory=list)

    def count(self, outcome: str, request: bytes) -> None:
        self.outcomes[outcome] += 1
        if _is_offence(outcome) and len(self.offending) < _KEPT:
            name = f"{outcome.replace(' ', '-')}-{hashlib.sha256(request).hexdigest()[:12]}.bin"
            self.folder.mkdir(parents=True, exist_ok=True)
            self.offending.append(self.folder / name)
            self.offending[-1].write_bytes(request)


def _is_offence(outcome: str) -> bool:
    """A bug, silence, or a status of gRPC's without the server's own code."""
    return is_bug(outcome) or outcome == "no answer" or (outcome.isupper() and outcome != "OK" and " " not in outcome)


async def send(target: Target, requests: Requests, bodies: int, said: Said) -> None:
    """Send so many fuzzed requests over the target's face."""
    left = iter(range(bodies))
    if target.face == "rest":
        await at_once(*(_rest(target.http_port, requests, left, said) for _ in range(_CONNECTIONS)))
        return
    async with contextlib.AsyncExitStack() as stack:
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"{HOST}:{target.grpc_port}", options=options))
            for _ in range(_CHANNELS)
        ]
        calls: list[Calls] = [  # bytes in, bytes out
            {method: channel.unary_unary(method) for method in (CLASSIFY, INFER)} for channel in channels
        ]
        await at_once(*(_rpc(calls[index % _CHANNELS], requests, left, said) for index in range(_CHANNELS * _CALLS)))


async def _rest(port: int, requests: Requests, left: Iterator[int], said: Said) -> None:
    connection: Connection | None = None
    try:
        for _ in left:
            request, whole = requests.rest()
            if not whole:
                said.count(await _broken(port, request), request)
                continue
            connection = connection or await Connection.open(port)
            outcome, last = await _asked(connection, request)
            said.count(outcome, request)
            if last:
                connection.close()
                connection = None
    finally:
        if connection:
            connection.close()


async def _asked(connection: Connection, request: bytes) -> tuple[str, bool]:
    """The outcome, and whether the connection has ended."""
    try:
        answer = await asyncio.wait_for(connection.ask(request), _PATIENCE_S)
        return str(answer.status), answer.last
    except TimeoutError:
        return "no answer", True
    except (OSError, EOFError):
        return "disconnected", True


async def _broken(port: int, request: bytes) -> str:
    """A request of which the server may see one, several, or only a part."""
    connection = await Connection.open(port)
    try:
        return str((await asyncio.wait_for(connection.ask(request), _BROKEN_S)).status)
    except (OSError, EOFError, ValueError):  # TimeoutError is an OSError
        return "none to a broken one"
    finally:
        connection.close()


async def _rpc(calls: Calls, requests: Requests, left: Iterator[int], said: Said) -> None:
    for _ in left:
        method, request = requests.rpc()
        try:
            await calls[method](request, timeout=_PATIENCE_S)
            said.count("OK", request)
        except grpc.aio.AioRpcError as error:
            said.count(rpc_outcome(error), request)
