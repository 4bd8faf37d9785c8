"""Compose spans: what exports the spans of this process, if the settings say where to."""

import os
import socket
import uuid
from importlib.metadata import version

from server.journal import Spans
from server.metrics import Metrics
from server.settings import Settings

_COLLECTOR_LIMIT_S = 5.0


def compose_spans(settings: Settings, process: str, metrics: Metrics) -> Spans | None:
    """`process`: the name of this one of several, as in the log. Starts a thread."""
    if not settings.otlp_endpoint:
        return None
    from server.tracing.collector import Collector  # only where traces are on: it imports OpenTelemetry
    from server.tracing.exporter import Exporter

    resource: dict[str, str | int | bool] = {
        "service.name": "sesame",
        "service.version": version("sesame"),
        "service.instance.id": str(uuid.uuid4()),
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        "sesame.process": process,
    }
    exporter = Exporter(
        Collector(settings.otlp_endpoint, _COLLECTOR_LIMIT_S),
        resource,
        lambda outcome, records: metrics.trace_records.labels(outcome).inc(records),
    )
    exporter.start()
    return exporter
