"""Request spans: what a process with faces did for one request."""

from collections.abc import Iterator

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from server.exchange import Exchange
from server.trace import Trace, new_span_id
from server.tracing.span import SERVER, Value, fail, link, span

_GRPC_FAULTS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
"""Statuses that are the server's fault, as the semantic conventions have it."""


def request_spans(exchange: Exchange, trace: Trace, epoch_ns: int) -> Iterator[Span]:
    """The server's span, and one for each stage. `epoch_ns`: when the monotonic clock began, since 1970."""

    def ns(at_s: float) -> int:
        return epoch_ns + int(at_s * 1e9)

    began, ended = ns(exchange.began_at_s), ns(exchange.ended_at_s)
    whole = span(
        trace, trace.span_id, trace.parent_id, _name(exchange), began, ended, _attributes(exchange), SERVER, True
    )
    if _is_fault(exchange):
        fail(whole, exchange.code or exchange.status)
    for shared in exchange.shared:
        link(whole, shared, shared.span_id)
    yield whole
    for name, began_at_s, ended_at_s in _stages(exchange):
        yield span(trace, new_span_id(), trace.span_id, name, ns(began_at_s), ns(ended_at_s), {})


def _stages(exchange: Exchange) -> Iterator[tuple[str, float, float]]:
    if exchange.received_at_s:
        yield "receive", exchange.began_at_s, exchange.received_at_s
    yield from exchange.spans
    if exchange.answered_at_s:
        yield "respond", exchange.answered_at_s, exchange.ended_at_s


def _name(exchange: Exchange) -> str:
    """Of few values: the route and not the path."""
    return f"{exchange.method} {exchange.route}".rstrip() if exchange.face == "rest" else exchange.method


def _attributes(exchange: Exchange) -> dict[str, Value]:
    """Names of the semantic conventions of OpenTelemetry, and our own under `sesame.`."""
    own: dict[str, Value] = {
        "client.address": exchange.address,
        "sesame.request_id": exchange.request_id,
        "sesame.key": exchange.key_name,
        "sesame.model": exchange.model,
        "sesame.version": exchange.version,
        "sesame.images": exchange.images or "",
        "sesame.batch.images": exchange.batch or "",
        "error.type": "" if exchange.code == "ok" else exchange.code,
    }
    return own | (_http(exchange) if exchange.face == "rest" else _rpc(exchange))


def _http(exchange: Exchange) -> dict[str, Value]:
    return {
        "http.request.method": exchange.method,
        "http.route": exchange.route,
        "http.response.status_code": int(exchange.status) if exchange.status else "",
        "url.path": exchange.path,
    }


def _rpc(exchange: Exchange) -> dict[str, Value]:
    return {
        "rpc.system.name": "grpc",
        "rpc.method": exchange.method,
        "rpc.response.status_code": exchange.status,
    }


def _is_fault(exchange: Exchange) -> bool:
    """Errors of the client are no errors of the server's span: the conventions want it so."""
    if exchange.face == "rest":
        return exchange.status.startswith("5") or not exchange.status
    return exchange.status in _GRPC_FAULTS
