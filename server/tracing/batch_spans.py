"""Batch spans: what the process with the engine did for the images of one batch."""

from collections.abc import Iterator

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from server.errors import Code
from server.journal import BatchRun
from server.trace import Trace, new_span_id
from server.tracing.span import Value, fail, link, span


def batch_spans(run: BatchRun, epoch_ns: int) -> Iterator[Span]:
    """For each recorded image a span `queue` and a span `infer`, both linked to that of the batch; and that one, which
    is a child of the first image's `infer`, and linked to those of all. `epoch_ns`: when the monotonic clock began,
    since 1970.
    """
    ids = [new_span_id() for _ in run.recorded]
    batch, batch_id = _batch(run, ids, epoch_ns), new_span_id()
    batch.span_id = batch_id.to_bytes(8)
    first, _ = run.recorded[0]
    for (trace, ready_at_s), infer_id in zip(run.recorded, ids, strict=True):
        for each in _image(run, trace, ready_at_s, infer_id, epoch_ns):
            link(each, first, batch_id)
            yield each
    yield batch


def _batch(run: BatchRun, infer_ids: list[int], epoch_ns: int) -> Span:
    attributes: dict[str, Value] = {
        "sesame.model": run.model,
        "sesame.version": run.version,
        "sesame.engine": run.engine,
        "sesame.batch.images": run.images,
        "sesame.batch.reason": run.reason,
    }
    first, _ = run.recorded[0]
    began_ns, ended_ns = epoch_ns + int(run.began_at_s * 1e9), epoch_ns + int(run.ended_at_s * 1e9)
    batch = span(first, 0, infer_ids[0], "batch", began_ns, ended_ns, attributes)
    for (trace, _), infer_id in zip(run.recorded, infer_ids, strict=True):
        link(batch, trace, infer_id)
    if run.failed:
        fail(batch, Code.ENGINE_FAILED)
    return batch


def _image(run: BatchRun, trace: Trace, ready_at_s: float, infer_id: int, epoch_ns: int) -> tuple[Span, Span]:
    ready_ns, began_ns, ended_ns = (epoch_ns + int(at * 1e9) for at in (ready_at_s, run.began_at_s, run.ended_at_s))
    queue = span(trace, new_span_id(), trace.span_id, "queue", min(ready_ns, began_ns), began_ns, {})
    infer = span(trace, infer_id, trace.span_id, "infer", began_ns, ended_ns, {"sesame.batch.images": run.images})
    if run.failed:
        fail(infer, Code.ENGINE_FAILED)
    return queue, infer
