"""Collector: takes OTLP over HTTP as OpenTelemetry's collector does, and keeps the spans in memory."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Seen:
    """A span, and which process sent it."""

    span: Span
    process: str

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def id(self) -> bytes:
        return self.span.span_id

    @property
    def parent(self) -> bytes:
        return self.span.parent_span_id

    @property
    def links(self) -> list[bytes]:
        return [link.span_id for link in self.span.links]

    @property
    def attributes(self) -> dict[str, str | int | bool]:
        return values(self.span.attributes)

    def within(self, other: "Seen") -> bool:
        """Whether it began and ended while the other one lasted."""
        outer = other.span
        return (
            outer.start_time_unix_nano <= self.span.start_time_unix_nano
            and self.span.end_time_unix_nano <= outer.end_time_unix_nano
        )


class Collector:
    """`status`: what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.posts = 0
        self._seen: list[Seen] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def spans(self, trace_id: bytes | None = None) -> list[Seen]:
        """Those that have come, of one trace or of all."""
        return [seen for seen in list(self._seen) if trace_id in (None, seen.span.trace_id)]

    async def until(self, enough: Callable[[Sequence[Seen]], bool], trace_id: bytes | None = None) -> list[Seen]:
        """Wait for spans."""
        while not enough(self.spans(trace_id)):
            await asyncio.sleep(0.01)
        return self.spans(trace_id)

    async def until_named(self, *names: str, trace_id: bytes | None = None) -> list[Seen]:
        """Wait until there is a span of each name."""
        return await self.until(lambda spans: {seen.name for seen in spans}.issuperset(names), trace_id)

    def _take(self, body: bytes) -> None:
        self.posts += 1
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = values(group.resource.attributes)
            assert resource["service.name"] == "sesame"
            process = str(resource.get("sesame.process", ""))
            self._seen += [Seen(span, process) for scope in group.scope_spans for span in scope.spans]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                known = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
                if known and collector.status == 200:
                    collector._take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status if known else 404)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def values(attributes: Sequence[KeyValue]) -> dict[str, str | int | bool]:
    """Attributes as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    there = Collector()
    thread = threading.Thread(target=there.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield there
    finally:
        there.server.shutdown()
        thread.join()
        there.server.server_close()


def named(spans: Sequence[Seen], name: str) -> Seen:
    """The only span of that name."""
    (found,) = [seen for seen in spans if seen.name == name]
    return found


def check_one_image(spans: Sequence[Seen], server: str, caller: bytes, stages: Sequence[str]) -> None:
    """That these are all spans of one image's request: whose children they are, their links and their times.

    `server`: the name of the server's span. `caller`: the id of the client's span. `stages`: those beside `queue`,
    `infer` and `batch`.
    """
    assert sorted(seen.name for seen in spans) == sorted((server, "queue", "infer", "batch", *stages))
    whole, infer, batch = named(spans, server), named(spans, "infer"), named(spans, "batch")
    assert whole.span.kind == Span.SPAN_KIND_SERVER
    assert whole.parent == caller
    assert batch.parent == infer.id
    assert infer.id in batch.links
    for name in ("queue", "infer"):
        assert named(spans, name).links == [batch.id]
    for name in ("queue", "infer", *stages):
        assert named(spans, name).parent == whole.id
        assert named(spans, name).within(whole)
    assert batch.within(infer)
    order = [name for name in ("receive", "decode", "queue", "infer", "respond") if name in (*stages, "queue", "infer")]
    for earlier, later in itertools.pairwise(order):
        assert named(spans, earlier).span.end_time_unix_nano <= named(spans, later).span.start_time_unix_nano, later
    assert len({seen.id for seen in spans}) == len(spans)
