"""Trial: one attack over one face, against a server of its own, with an ordinary client beside it."""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.attacks.attack import Attack, Target, attacked
from tests.attacks.ordinary import Ordinary
from tests.attacks.photos import number, photos
from tests.attacks.server import Memory, Server
from tests.attacks.verdict import TRACEBACK, Sizes, Trial, is_back
from tests.attacks.wire import http1

BACK_S = 10.0
_LOOK_S = 0.25
_WARM = 4
_PATIENCE_S = 30.0


def tried(attack: Attack, face: str, seconds: float, options: Sequence[str] = (), back_s: float = BACK_S) -> Trial:
    """Start a server, attack it, and see what became of it. Raises ServerFailed where it does not start.

    `back_s`: how long its memory may take to be what it was.
    """
    prepared = attack.prepare()
    with (
        tempfile.TemporaryDirectory(prefix="sesame-attack-") as folder,
        Server(Path(folder), options, attack.log_unread) as server,
    ):
        target = Target(server.http_port, server.grpc_port, face, max(seconds, attack.least_s))
        return asyncio.run(_tried(attack, target, prepared, server, back_s))


async def _tried(attack: Attack, target: Target, prepared: object, server: Server, back_s: float) -> Trial:
    for _ in range(_WARM):  # what a first use of its threads takes is no attack's doing
        await asyncio.gather(*(top(target.http_port, photo + number()) for photo in photos()))
    before = await top(target.http_port)
    ordinary = Ordinary(target.http_port, target.grpc_port, target.face)
    with ordinary:
        start_bytes = server.memory_bytes()
        with Memory(server.pid) as memory:
            told = await attacked(attack, target, prepared)
    after_bytes = await _settled(server, start_bytes, back_s)
    after = await top(target.http_port)
    unlike = "" if after == before else f"it answers {after}"
    sizes = Sizes(start_bytes, memory.peak_bytes, after_bytes, len(server.log()))
    return Trial(attack, target.face, ordinary.seen, told, sizes, server.alive, unlike, server.log().count(TRACEBACK))


async def _settled(server: Server, start_bytes: int, back_s: float) -> int:
    """Its memory once it is back, or after so many seconds."""
    limit_s = time.monotonic() + back_s
    while not is_back(start_bytes, now_bytes := server.memory_bytes()) and time.monotonic() < limit_s:
        await asyncio.sleep(_LOOK_S)
    return now_bytes


async def top(port: int, photo: bytes | None = None) -> str:
    """The five best classes of a photo (the first where none is given), or why there are none."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            connection = await http1.Connection.open(port)
            try:
                answer = await connection.ask(*http1.post("/classify", [photo or photos()[0]]))
            finally:
                connection.close()
    except (OSError, EOFError) as error:  # TimeoutError is an OSError
        return type(error).__name__
    if answer.status != 200:
        return str(answer.status)
    return " ".join(str(best["index"]) for best in json.loads(answer.body)["predictions"])
