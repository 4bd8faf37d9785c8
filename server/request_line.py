"""RequestLine: what the log says of one request."""

from server.exchange import Exchange
from server.host.logs import Event, quoted

Value = str | int | float

_IN_HEAD = frozenset({"face", "method", "path", "status", "total_ms"})


class RequestLine(Event):
    """The log's thread writes it out, and not while the client waits: the exchange has ended, and does not change."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def summary(self) -> str:
        """Method and path, or the gRPC method, and the status."""
        it = self._exchange
        return " ".join([quoted(word) for word in (it.method, it.path, it.status or "-") if word])

    def fields(self) -> dict[str, Value]:
        """All that is known, by the names of docs/logs.md. What does not apply is left out."""
        it = self._exchange
        found: dict[str, Value] = {"id": it.request_id, "face": it.face, "method": it.method}
        texts = (
            ("path", it.path),
            ("status", it.status),
            ("code", it.code),
            ("client", it.address),
            ("key", it.key_name),
            ("model", it.model),
            ("version", it.version),
        )
        found |= {name: text for name, text in texts if text}
        if it.trace:
            found["trace_id"], found["span_id"] = f"{it.trace.trace_id:032x}", f"{it.trace.span_id:016x}"
        if it.images:
            found["images"], found["failed"], found["batch"] = it.images, it.failed, it.batch
        _add_times(it, found)
        return found

    def __str__(self) -> str:
        """The line in text."""
        found = self.fields()
        said = [
            f" {name}={quoted(value) if type(value) is str else value}"
            for name, value in found.items()
            if name not in _IN_HEAD
        ]
        return f"{self.summary()} total_ms={found['total_ms']}{''.join(said)}"


def _add_times(it: Exchange, found: dict[str, Value]) -> None:
    """In milliseconds, of the stages that there were."""
    if it.received_at_s:
        found["receive_ms"] = round((it.received_at_s - it.began_at_s) * 1e3, 3)
    stages = (
        ("decode_ms", it.decode_s),
        ("queue_ms", it.queue_s),
        ("infer_ms", it.infer_s),
        ("explain_ms", it.explain_s),
    )
    found |= {name: round(stage_s * 1e3, 3) for name, stage_s in stages if stage_s}
    if it.answered_at_s:
        found["respond_ms"] = round((it.ended_at_s - it.answered_at_s) * 1e3, 3)
    found["total_ms"] = round((it.ended_at_s - it.began_at_s) * 1e3, 3)
