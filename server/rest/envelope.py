"""Envelope: what every HTTP exchange has besides its content: a request id, and its line in the log.

Pure ASGI, because starlette's middleware class hides that a client disconnects.
"""

import logging
import random
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exchange import Exchange
from server.rest.request_head import header

log = logging.getLogger("server.access")

_EXTENSION = "sesame.exchange"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Envelope:
    """Echoes `X-Request-Id`, or makes one if it is missing or not valid. Forbids content sniffing. Logs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = _begun(scope)
        scope["extensions"][_EXTENSION] = exchange
        started_s = time.perf_counter()
        status = 0

        async def send_in_envelope(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-request-id", exchange.request_id.encode()), (b"x-content-type-options", b"nosniff")
                message["headers"] = [*message["headers"], *own]
            await send(message)

        try:
            await self._app(scope, receive, send_in_envelope)
        finally:
            elapsed_ms = (time.perf_counter() - started_s) * 1e3
            level = logging.DEBUG if scope["method"] in ("GET", "HEAD") and status == 200 else logging.INFO
            log.log(
                level,
                "%s %s %d %.1f ms id=%s",
                scope["method"],
                scope["raw_path"][:256].decode("ascii", "replace"),
                status,
                elapsed_ms,
                exchange.request_id,
            )


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of a request."""
    exchange: Exchange = scope["extensions"][_EXTENSION]
    return exchange


def _begun(scope: Scope) -> Exchange:
    given = header(scope, b"x-request-id") or ""
    request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
    client = scope["client"]
    return Exchange(request_id, client[0] if client else "", header(scope, b"x-caller-id") or "")
