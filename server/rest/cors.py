"""Cors: lets pages of other origins call REST from a browser (Fetch Standard, 3.2). Pure ASGI."""

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.rest.request_head import header

_METHODS = b"GET, HEAD, POST"
_EXPOSED = b"X-Request-Id, Retry-After, Inference-Header-Content-Length"
_MAX_AGE_S = b"600"
_NAMES = re.compile(r"[A-Za-z0-9_-]+( *, *[A-Za-z0-9_-]+)*")
_NAMES_CHARACTERS = 1024
_NOT_FOR_PAGES = ("/admin", "/metrics")

Headers = list[tuple[bytes, bytes]]


class Cors:
    """Answers preflight requests, and marks every answer to an allowed origin, errors too. There are no cookies here,
    so credentials are never allowed. Operators' routes are not opened.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        """`origins`: as browsers send them, or `*` for all."""
        self._app = app
        self._origins = {origin.lower() for origin in origins}
        self._all = "*" in self._origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_NOT_FOR_PAGES):
            return await self._app(scope, receive, send)
        origin = header(scope, b"origin")
        marks = self._marks(origin)
        asks = scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None
        if asks and self._allows(origin):
            return await _answer_preflight(marks, header(scope, b"access-control-request-headers") or "", send)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *marks]
            await send(message)

        return await self._app(scope, receive, send_marked)

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and (self._all or origin.lower() in self._origins)

    def _marks(self, origin: str | None) -> Headers:
        """The headers of an answer to this origin. Answers differ by it, and caches are told so."""
        vary = [] if self._all else [(b"vary", b"Origin")]
        if origin is None or not self._allows(origin):
            return vary
        allowed = b"*" if self._all else origin.encode("latin-1")
        return [(b"access-control-allow-origin", allowed), (b"access-control-expose-headers", _EXPOSED), *vary]


async def _answer_preflight(marks: Headers, names: str, send: Send) -> None:
    """Any header may be sent: none of them opens more to a page than to a program."""
    headers = [*marks, (b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _MAX_AGE_S)]
    if len(names) <= _NAMES_CHARACTERS and _NAMES.fullmatch(names):
        headers.append((b"access-control-allow-headers", names.encode()))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
