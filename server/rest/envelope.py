"""Envelope: what every HTTP exchange has besides its content: ids, and its entry in the journal.

Pure ASGI, because starlette's middleware class hides that a client disconnects.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.exchange import Exchange, request_id
from server.journal import Journal
from server.rest.request_head import header

_EXTENSION = "sesame.exchange"

_SECURITY = ((b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin"))
"""Of every answer: browsers take it for nothing but its type, and show it in no page of another origin."""

_PRIVATE = (b"cache-control", b"no-store")
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000")


class Envelope:
    """Echoes `X-Request-Id`, or makes one if it is missing or not valid. Goes on in the caller's trace, and tells the
    place in it in `traceresponse` where spans are recorded. Adds the headers for security.
    """

    def __init__(self, app: ASGIApp, journal: Journal) -> None:
        self._app = app
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        exchange = self._begun(scope)
        scope["extensions"][_EXTENSION] = exchange

        async def send_in_envelope(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = str(message["status"])
                own = (b"x-request-id", exchange.request_id.encode())
                message["headers"] = [*message["headers"], own, *_SECURITY, *_for_request(scope, message["headers"])]
                if trace := exchange.recorded:
                    message["headers"].append((b"traceresponse", trace.header().encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_in_envelope)
        finally:
            exchange.route = exchange.route or getattr(scope.get("route"), "path", "")
            self._journal.end(exchange)

    def _begun(self, scope: Scope) -> Exchange:
        given = caller_id = traceparent = tracestate = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = given or value.decode("latin-1")
            elif name == b"x-caller-id":
                caller_id = caller_id or value.decode("latin-1")
            elif name == b"traceparent":
                traceparent = traceparent or value.decode("latin-1")
            elif name == b"tracestate":
                tracestate = tracestate or value.decode("latin-1")
        minor = scope["method"] in ("GET", "HEAD")
        client = scope["client"]
        return Exchange(
            request_id(given),
            client[0] if client else "",
            trace=self._journal.trace(traceparent, tracestate, minor),
            face="rest",
            method=scope["method"],
            path=scope["raw_path"][:256].decode("ascii", "replace"),
            minor=minor,
            caller_id=caller_id,
        )


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of a request."""
    exchange: Exchange = scope["extensions"][_EXTENSION]
    return exchange


def _for_request(scope: Scope, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that depend on the request: an answer says of itself whether it may be kept, and nobody keeps others.

    HSTS holds for all ports of a host. So only a server that is reached at the port of HTTPS itself may set it.
    """
    named = scope["method"] in ("GET", "HEAD") and any(name.lower() == b"cache-control" for name, _ in given)
    headers = [] if named else [_PRIVATE]
    if scope["scheme"] == "https" and ":" not in (header(scope, b"host") or ":"):
        headers.append(_ONLY_TLS)
    return headers
