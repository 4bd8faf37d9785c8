"""Exporter: makes spans of what has ended, and sends them to the collector, in a thread of its own."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from server.exchange import Exchange
from server.host import cores
from server.journal import BatchRun
from server.tracing.batch_spans import batch_spans
from server.tracing.collector import Collector, CollectorError
from server.tracing.request_spans import request_spans
from server.tracing.span import Value, key_values

log = logging.getLogger(__name__)

MOST_WAITING = 4096
_TOGETHER = 128  # requests and batches are sent in one message
_GATHER_S = 0.5


class Exporter:
    """Drops and counts what ends while too much waits, or the collector cannot be reached: no request waits for it.

    `request` and `batch` are called on the event loop. They only keep what they get; the thread does the rest.
    """

    def __init__(self, collector: Collector, resource: Mapping[str, Value], count: Callable[[str, int], None]) -> None:
        """`resource`: what this process is. `count` is called in any thread with "sent" or "dropped", and with how many
        requests and batches.
        """
        self._collector = collector
        self._resource = Resource(attributes=key_values(resource))
        self._count = count
        self._waiting: deque[Exchange | BatchRun] = deque()
        self._there = threading.Event()  # some wait
        self._ending = threading.Event()
        self._ended = threading.Event()
        self._reached = True

    def start(self) -> None:
        threading.Thread(target=self._export, name="traces", daemon=True).start()

    def request(self, exchange: Exchange) -> None:
        self._keep(exchange)

    def batch(self, run: BatchRun) -> None:
        self._keep(run)

    def close(self, within_s: float) -> None:
        """Send what waits, for so long at most. What comes later is dropped."""
        self._ending.set()
        self._there.set()
        self._ended.wait(within_s)

    def _keep(self, ended: Exchange | BatchRun) -> None:
        if len(self._waiting) >= MOST_WAITING:
            return self._count("dropped", 1)
        self._waiting.append(ended)
        if not self._there.is_set():
            self._there.set()
        return None

    def _export(self) -> None:
        """In a thread of its own."""
        cores.lower_priority(cores.Niceness.POOL)
        with self._collector:
            ending = False
            while not ending:
                self._there.wait()
                self._ending.wait(_GATHER_S)
                self._there.clear()  # first: what comes from now on sets it again
                ending = self._ending.is_set()
                while self._waiting:
                    self._send_some()
        self._ended.set()

    def _send_some(self) -> None:
        together = [self._waiting.popleft() for _ in range(min(_TOGETHER, len(self._waiting)))]
        try:
            spans = [each for ended in together for each in _spans(ended)]
            self._collector.send(self._message(spans).SerializeToString())
        except CollectorError as error:
            self._count("dropped", len(together))
            self._lost(str(error))
        except Exception:
            self._count("dropped", len(together))
            log.exception("spans could not be made: this is a bug")
        else:
            self._count("sent", len(together))
            self._found()

    def _message(self, spans: list[Span]) -> ExportTraceServiceRequest:
        scope = ScopeSpans(scope=InstrumentationScope(name="sesame"), spans=spans)
        return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scope])])

    def _lost(self, why: str) -> None:
        if self._reached:
            log.warning("spans are dropped until the collector of otlp_endpoint takes them: %s", why)
        self._reached = False

    def _found(self) -> None:
        if not self._reached:
            log.info("the collector takes spans again")
        self._reached = True


def _spans(ended: Exchange | BatchRun) -> Iterator[Span]:
    """Between two of them others may have Python's global lock: answers go first."""
    time.sleep(0)
    epoch_ns = time.time_ns() - time.monotonic_ns()
    if isinstance(ended, BatchRun):
        return batch_spans(ended, epoch_ns)
    trace = ended.recorded
    assert trace, "the journal hands on those that are recorded. This is a bug."
    return request_spans(ended, trace, epoch_ns)
