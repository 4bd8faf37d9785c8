"""Span: one piece of work as OTLP's message. The only module that makes spans."""

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from server.trace import Trace

Value = str | int | bool

INTERNAL: Final = Span.SPAN_KIND_INTERNAL
SERVER: Final = Span.SPAN_KIND_SERVER
_SAMPLED = 0x1
_KNOWS_REMOTE, _REMOTE = 0x100, 0x200  # whether the parent is of another process


def span(
    trace: Trace,
    span_id: int,
    parent_id: int,
    name: str,
    began_ns: int,
    ended_ns: int,
    attributes: Mapping[str, Value],
    kind: Span.SpanKind.ValueType = INTERNAL,
    remote_parent: bool = False,
) -> Span:
    """A span of a trace. Times are since 1970; `parent_id` 0: it has no parent. Attributes that are "" are left out."""
    return Span(
        trace_id=trace.trace_id.to_bytes(16),
        span_id=span_id.to_bytes(8),
        parent_span_id=parent_id.to_bytes(8) if parent_id else b"",
        trace_state=trace.state,
        flags=_SAMPLED | _KNOWS_REMOTE | (_REMOTE if remote_parent else 0),
        name=name,
        kind=kind,
        start_time_unix_nano=began_ns,
        end_time_unix_nano=max(began_ns, ended_ns),
        attributes=key_values(attributes),
    )


def fail(failed: Span, code: str) -> None:
    """Say that its work failed, with the error's code."""
    failed.status.code = Status.STATUS_CODE_ERROR
    failed.status.message = code


def link(from_: Span, trace: Trace, span_id: int) -> None:
    """Link a span to another one."""
    from_.links.add(trace_id=trace.trace_id.to_bytes(16), span_id=span_id.to_bytes(8), flags=_SAMPLED)


def key_values(attributes: Mapping[str, Value]) -> Iterable[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in attributes.items() if value != ""]


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=value.encode("utf-8", "replace").decode())
