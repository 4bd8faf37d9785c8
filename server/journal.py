"""Journal: what is kept of each request when it has ended: its line in the log, and its spans."""

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from server.exchange import Exchange
from server.request_line import RequestLine
from server.trace import Trace

log = logging.getLogger("server.access")

_FINE = ("200", "OK")


@dataclass(frozen=True, slots=True)
class BatchRun:
    """A batch that was run, with those of its images whose requests are recorded: the trace of each, and when it was
    ready for the engine. Times are on the monotonic clock.
    """

    model: str
    version: str
    engine: str
    reason: str
    images: int
    failed: bool
    began_at_s: float
    ended_at_s: float
    recorded: Sequence[tuple[Trace, float]]


class Spans(Protocol):
    """Makes spans and exports them. All is called on the event loop, and returns at once but for `close`."""

    def request(self, exchange: Exchange) -> None: ...

    def batch(self, run: BatchRun) -> None: ...

    def close(self, within_s: float) -> None:
        """Export what waits, for so long at most."""
        ...


class Journal:
    """One for both faces. Runs on the event loop."""

    def __init__(self, spans: Spans | None = None, share: float = 1.0) -> None:
        """`share`: of the requests that come without a trace, which begin one. Without `spans` none does."""
        self._spans = spans
        self._share = share

    def trace(self, traceparent: str, tracestate: str, minor: bool) -> Trace | None:
        """The trace of a request that begins now. `minor` ones begin none, but go on in their caller's."""
        if traceparent and (received := Trace.received(traceparent, tracestate)):
            return received if self._spans else received.unrecorded()
        if self._spans and not minor and random.random() < self._share:
            return Trace.begun()
        return None

    def end(self, exchange: Exchange) -> None:
        """The request has its answer, or will have none."""
        exchange.ended_at_s = time.monotonic()
        fine = exchange.status in _FINE
        if fine and not exchange.code:
            exchange.code = "ok"
        log.log(logging.DEBUG if exchange.minor and fine else logging.INFO, RequestLine(exchange))
        if self._spans and exchange.recorded:
            self._spans.request(exchange)
