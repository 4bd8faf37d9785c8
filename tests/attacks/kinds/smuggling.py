"""Smuggling: a body must stay a body, whatever the request offers to become."""

import asyncio
import contextlib
import itertools

from tests.attacks.attack import Attack, Target, Told, again, at_once
from tests.attacks.photos import number, photos
from tests.attacks.wire.http1 import Connection, chunked, head

_OFFER = {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA", "Connection": "Upgrade, HTTP2-Settings"}
_HIDDEN = b"GET /models HTTP/1.1\r\nHost: sesame\r\n\r\n"
_QUIET_S, _APART_S, _PATIENCE_S = 0.3, 0.05, 10.0


async def upgrades(target: Target, prepared: object, told: Told) -> None:
    """POSTs that offer h2c, plain and chunked: a photo is answered as one, a request in a body is not carried out."""

    async def once() -> str:
        for in_chunks, apart in itertools.product((False, True), repeat=2):
            probe = _Probe(target, told, in_chunks, apart)
            await probe.photo_stays_photo()
            await probe.request_stays_body()
        return "probed"

    await at_once(*(again(told, once) for _ in range(2)))


class _Probe:
    """One way to send a body: in a chunk or plain, with its header or some time after it."""

    def __init__(self, target: Target, told: Told, in_chunks: bool, apart: bool) -> None:
        self._target = target
        self._told = told
        self._in_chunks = in_chunks
        self._apart = apart

    async def photo_stays_photo(self) -> None:
        """Two photos over one connection are two answers."""
        connection = await Connection.open(self._target.http_port)
        try:
            for which in ("first", "second"):
                status = await self._answered(connection, photos()[0] + number())
                if status not in (200, 429):
                    self._told.complaints[f"the {which} photo: {status}"] += 1
                    return
        except (OSError, EOFError):
            self._told.complaints["a photo: no answer"] += 1
        finally:
            connection.close()

    async def request_stays_body(self) -> None:
        """A body that is a request is a bad photo: one answer, and no second."""
        connection = await Connection.open(self._target.http_port)
        try:
            status = await self._answered(connection, _HIDDEN)
            if status != 415:
                self._told.complaints[f"a request as body: {status}"] += 1
            with contextlib.suppress(OSError, EOFError):  # TimeoutError is an OSError
                await asyncio.wait_for(connection.answer(), _QUIET_S)
                self._told.complaints["a body was carried out as a request"] += 1
        finally:
            connection.close()

    async def _answered(self, connection: Connection, body: bytes) -> int:
        length = {"Transfer-Encoding": "chunked"} if self._in_chunks else {"Content-Length": str(len(body))}
        opening = head("POST", "/classify", {"Content-Type": "image/jpeg", **_OFFER, **length})
        rest = chunked(body) if self._in_chunks else body
        if self._apart:
            await connection.send(opening)
            await asyncio.sleep(_APART_S)
        answer = await asyncio.wait_for(connection.ask(rest if self._apart else opening + rest), _PATIENCE_S)
        self._told.outcomes[str(answer.status)] += 1
        return answer.status


ATTACKS = [Attack("h2c upgrades", ("rest",), upgrades, photos)]
