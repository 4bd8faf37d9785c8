"""Envelope: what every HTTP exchange has besides its content: a request id, and its line in the log.

Pure ASGI, because starlette's middleware class hides that a client disconnects.
"""

import logging
import random
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.rest.request_head import header

log = logging.getLogger("server.access")

_SECURITY = ((b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin"))
"""Of every answer: browsers take it for nothing but its type, and show it in no page of another origin."""

_PRIVATE = (b"cache-control", b"no-store")
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Envelope:
    """Echoes `X-Request-Id`, or makes one if it is missing or not valid. Adds the headers for security. Logs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = header(scope, b"x-request-id") or ""
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        started_s = time.perf_counter()
        status = 0

        async def send_in_envelope(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-request-id", request_id.encode())
                message["headers"] = [*message["headers"], own, *_SECURITY, *_for_request(scope, message["headers"])]
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
                request_id,
            )


def _for_request(scope: Scope, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that depend on the request: an answer says of itself whether it may be kept, and nobody keeps others.

    HSTS holds for all ports of a host. So only a server that is reached at the port of HTTPS itself may set it.
    """
    named = scope["method"] in ("GET", "HEAD") and any(name.lower() == b"cache-control" for name, _ in given)
    headers = [] if named else [_PRIVATE]
    if scope["scheme"] == "https" and ":" not in (header(scope, b"host") or ":"):
        headers.append(_ONLY_TLS)
    return headers
