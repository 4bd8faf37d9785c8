"""Protocol: one HTTP connection, with limits that uvicorn does not have."""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import Code, ServingError
from server.rest.client import Client
from server.rest.connections import Connections
from server.rest.corked import Corked
from server.rest.problems import raw_problem

_HEAD_BYTES = 64 << 10
_HEAD_S = 10.0
_LINGER_S = 1.0
"""How long a connection stays open after a rejection: a client that is still sending would not read the answer else."""

_UNREAD_S = 30.0  # a client that does not read its answer for so long is disconnected
_PIPELINED = 16  # most requests that may wait behind one that is being answered
_OFFERS = (b"upgrade", b"http2-settings")


class _Flow(FlowControl):
    """Does not resume reading while requests wait behind one that is being answered."""

    def __init__(self, connection: "HttpConnection") -> None:
        super().__init__(connection.transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if not self._connection.has_backlog():
            super().resume_reading()


class HttpConnection(HttpToolsProtocol):
    """uvicorn's connection, with these differences:

    - What follows a request is not read until the request is answered. uvicorn would store all of it.
    - A head (request line and headers) has at most 64 KiB, and 10 s to arrive.
    - An offer of another protocol (`Upgrade`) is ignored, as RFC 9110 allows. uvicorn would drop the body, and read it
      as the next request.
    - With too many connections, an idle one is closed for a new one. If none is idle, the new one is rejected.

    Everything here runs on the event loop, called by asyncio and by httptools' parser.
    """

    def __init__(self, *args: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._all = connections
        self._head_bytes = 0
        self._in_head = False
        self._between = True  # no request has begun since the last one was received
        self._messages = 0
        self._offered = False
        self._rejected = False
        self._slow: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._held = b""  # what followed a request that is being answered
        self._answering: RequestResponseCycle | None = None
        self._client = Client()

    def has_backlog(self) -> bool:
        """Whether a request has been received that is not answered yet, so that what follows must wait."""
        answering = self.cycle is not None and not self.cycle.response_complete
        return bool(self.pipeline) or (self._between and answering)

    def _has_body(self) -> bool:
        """Whether the body of the request that is being answered is here."""
        return self._answering is not None and not self._answering.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(self)
        self._client.resume_reading = self.flow.resume_reading
        self._client.has_sent_all = self._has_body
        if len(self.connections) > self._all.most and not self._all.make_room():
            error = ServingError(
                Code.QUEUE_FULL, "Too many connections are open: try again in a moment.", retry_after_s=1
            )
            return self._reject(error, linger_s=0)
        self._all.opened(self)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self)
        self._stop_timer()
        self.resume_writing()
        for cycle in (self._answering, *(cycle for cycle, _ in self.pipeline)):  # uvicorn tells only the last one
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        self._client.leave()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._unread = self._unread or self.loop.call_later(_UNREAD_S, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._rejected:
            return None
        self._unset_keepalive_if_required()
        if self.has_backlog():
            self._held += data
            return self.flow.pause_reading()
        only_head, messages = self._in_head or self._between, self._messages
        self._feed(data)
        if self._in_head:
            self._wait_for_head(len(data) if only_head and messages == self._messages else 0)
        return None

    def _read_on(self) -> None:
        """Read what followed a request that has now been answered."""
        data, self._held = self._held, b""
        if not self.transport.is_closing():
            self.data_received(data)
            self.flow.resume_reading()

    def _wait_for_head(self, more_bytes: int) -> None:
        """The head has not ended yet. It got `more_bytes`."""
        self._head_bytes += more_bytes
        if self._head_bytes > _HEAD_BYTES:
            self._reject_head()
        elif self._slow is None:
            self._slow = self.loop.call_later(_HEAD_S, self._head_was_slow)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._feed_without_offer(data[stopped.args[0] :])
        except httptools.HttpParserError:
            self._reject(ServingError(Code.MALFORMED, "This is not HTTP/1.1: send requests with an HTTP client."))

    def on_message_begin(self) -> None:
        self._in_head, self._between, self._head_bytes, self._offered = True, False, 0, False
        super().on_message_begin()
        self.scope["extensions"] = self._client.extensions

    def on_headers_complete(self) -> None:
        self._offered = self.parser.should_upgrade()
        if self._offered:
            return None  # the parser stops here; `_feed_without_offer` feeds it the request again
        self._in_head = False
        self._stop_timer()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _HEAD_BYTES:
            return self._reject_head()
        if len(self.pipeline) >= _PIPELINED:
            return self._reject(
                ServingError(Code.MALFORMED, "Too many requests at once on one connection: wait for their answers.")
            )
        self._all.busy(self)
        super().on_headers_complete()
        if self._all.leaving:
            self.cycle.keep_alive = False
        return None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        if cycle.scope["method"] != "HEAD":  # else no body comes after the head
            cycle.transport = Corked(cycle)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        if not self._offered and not self._rejected:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._offered and not self._rejected:
            super().on_message_complete()
            self._between = True
            self._messages += 1

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() or self.has_backlog():
            return
        self._all.idle(self)
        if self._held:
            self.loop.call_soon(self._read_on)

    def close_after_answer(self) -> None:
        """Close this connection after the answer that is being sent, if there is one."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def _feed_without_offer(self, rest: bytes) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            return self._reject(ServingError(Code.METHOD_NOT_ALLOWED, "This server is not a proxy: use GET or POST."))
        if self.cycle is not None and not self.cycle.response_complete:
            # a client could send many: each would be parsed again, with all that follows it
            return self._reject(
                ServingError(
                    Code.MALFORMED,
                    "A request with Upgrade came before the answer to the one before it: wait for that answer.",
                )
            )
        kept = [header for header in map(_without_offer, self.headers) if header]
        lines = [b"%s %s HTTP/%s" % (method, self.url, version), *(b"%s: %s" % header for header in kept)]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join(lines) + b"\r\n\r\n" + rest)
        return None

    def _reject_head(self) -> None:
        self._reject(
            ServingError(
                Code.HEADERS_TOO_LARGE, f"The headers are too large: send at most {_HEAD_BYTES} bytes of them."
            )
        )

    def _head_was_slow(self) -> None:
        self._slow = None
        self._reject(ServingError(Code.SLOW_HEADERS, f"The headers came too slowly: send them within {_HEAD_S:.0f} s."))

    def _reject(self, error: ServingError, linger_s: float = _LINGER_S) -> None:
        """Answer what never becomes a request, and close the connection."""
        self._rejected = True
        self._stop_timer()
        self._all.count(error.code)
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(raw_problem(error))
        self.loop.call_later(linger_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None


def _without_offer(header: tuple[bytes, bytes]) -> tuple[bytes, bytes] | None:
    """The header without the offer of another protocol; None if nothing else is in it."""
    name, value = header
    if name in _OFFERS:
        return None
    if name != b"connection":
        return header
    tokens = [token.strip() for token in value.split(b",") if token.strip().lower() not in _OFFERS]
    return (name, b", ".join(tokens)) if tokens else None


def factory(connections: Connections) -> Any:
    """The class of connections for uvicorn's setting `http`."""

    def make(
        config: Config, server_state: Any, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> HttpConnection:
        return HttpConnection(config, server_state, app_state, _loop, connections=connections)

    return make
