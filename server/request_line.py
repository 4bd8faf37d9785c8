"""RequestLine: what the log says of one request."""

from collections.abc import Iterator

from server.exchange import Exchange
from server.host.logs import Event, quoted

_TIMES = ("receive_ms", "decode_ms", "queue_ms", "infer_ms", "explain_ms", "respond_ms")


class RequestLine(Event):
    """The log's thread writes it out, and not while the client waits: the exchange has ended, and does not change."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def summary(self) -> str:
        """Method and path, or the gRPC method, and the status."""
        it = self._exchange
        return " ".join(quoted(word) for word in (it.method, it.path, it.status or "-") if word)

    def fields(self) -> dict[str, str | int | float]:
        """All that is known, by the names of docs/logs.md. What does not apply is left out."""
        return {name: value for name, value in self._all() if value not in ("", None)}

    def __str__(self) -> str:
        """The line in text."""
        said = [f"total_ms={self._total_ms()}"]
        said += [
            f"{name}={quoted(str(value))}"
            for name, value in self.fields().items()
            if name not in ("face", "method", "path", "status", "total_ms")
        ]
        return f"{self.summary()} {' '.join(said)}"

    def _all(self) -> Iterator[tuple[str, str | int | float | None]]:
        it = self._exchange
        yield from (("id", it.request_id), ("client", it.address), ("key", getattr(it, "key", "")))
        if it.trace:
            yield from (("trace_id", f"{it.trace.trace_id:032x}"), ("span_id", f"{it.trace.span_id:016x}"))
        yield from (("face", it.face), ("method", it.method), ("path", it.path))
        yield from (("status", it.status), ("code", it.code), ("model", it.model), ("version", it.version))
        if it.images:
            yield from (("images", it.images), ("failed", it.failed), ("batch", it.batch))
        yield from zip(_TIMES, self._times_ms(), strict=True)
        yield "total_ms", self._total_ms()

    def _times_ms(self) -> Iterator[float | None]:
        """None for a stage that there was not."""
        it = self._exchange
        yield _ms(it.received_at_s - it.began_at_s) if it.received_at_s else None
        for stage_s in (it.decode_s, it.queue_s, it.infer_s, it.explain_s):
            yield _ms(stage_s) if stage_s else None
        yield _ms(it.ended_at_s - it.answered_at_s) if it.answered_at_s else None

    def _total_ms(self) -> float:
        return _ms(self._exchange.ended_at_s - self._exchange.began_at_s)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
