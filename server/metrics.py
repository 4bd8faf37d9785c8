"""Metrics: what operators can watch, as Prometheus metrics."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_VERSION = ("model", "version")

STAGES = ("receive", "decode", "queue", "infer", "respond", "total")


class Metrics:
    """All metrics, named `sesame_…`. Times are in seconds; the names of other metrics say what they count.

    Any thread may write them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "sesame_requests_total",
            "Requests by outcome: ok, gone (the client disconnected), or an error code.",
            ("face", "outcome"),
            registry=registry,
        )
        self.admitted = Counter(
            "sesame_admitted_total",
            "Images admitted. Each is counted once more by its outcome, in sesame_images_total.",
            _VERSION,
            registry=registry,
        )
        self.images = Counter(
            "sesame_images_total",
            "Admitted images by outcome: ok, gone (the client disconnected), or an error code.",
            (*_VERSION, "outcome"),
            registry=registry,
        )
        self.refused = Counter(
            "sesame_refused_total",
            "Images that were not admitted, by error code.",
            (*_VERSION, "code"),
            registry=registry,
        )
        self.key_images = Counter(
            "sesame_key_images_total",
            "Admitted images of each API key by outcome: ok, gone (the client disconnected), or an error code.",
            ("key", "outcome"),
            registry=registry,
        )
        self.key_refused = Counter(
            "sesame_key_refused_total",
            "Images of each API key that were not admitted, by error code.",
            ("key", "code"),
            registry=registry,
        )
        self.key_quota_left = Gauge(
            "sesame_key_quota_left_images",
            "Images that an API key may still send today (UTC), of keys with a quota.",
            ("key",),
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "sesame_stage_seconds",
            "Time in each stage. receive and respond: for each request. decode, queue and infer (its whole batch): for "
            "each image that an engine computed. total: for each image, from admission to answer.",
            (*_VERSION, "stage"),
            registry=registry,
            buckets=_SECONDS,
        )
        self.batch_images = Histogram(
            "sesame_batch_images", "Images in a batch.", _VERSION, registry=registry, buckets=_IMAGES
        )
        self.dispatches = Counter(
            "sesame_dispatches_total",
            "Batches by the reason to start them: idle, engine_free, full, deadline.",
            (*_VERSION, "reason"),
            registry=registry,
        )
        self.last_batch = Gauge(
            "sesame_last_batch_timestamp_seconds",
            "When the last batch ended, in seconds since 1970. 0: none yet.",
            _VERSION,
            registry=registry,
        )
        self.permits = Gauge(
            "sesame_permits_taken",
            "Images admitted and not yet answered: in decoding, in the queue, or in the engine.",
            _VERSION,
            registry=registry,
        )
        self.queue_images = Gauge(
            "sesame_queue_images", "Decoded images that wait for an engine.", _VERSION, registry=registry
        )
        self.drain_seconds = Gauge(
            "sesame_drain_seconds",
            "Predicted time until all admitted images are answered.",
            _VERSION,
            registry=registry,
        )
        self.receiving_bytes = Gauge(
            "sesame_receiving_bytes", "Bytes of requests that are being received or answered.", registry=registry
        )
        self.http_connections = Gauge("sesame_http_connections", "Open connections of HTTP.", registry=registry)
        self.max_wait_seconds = Gauge(
            "sesame_max_wait_seconds",
            "The setting max_wait_ms, in seconds: who would wait longer is rejected.",
            registry=registry,
        )
        self.permits_limit = Gauge(
            "sesame_permits_limit", "The setting queue_images: most permits of each model version.", registry=registry
        )
        self.decode_queue_images = Gauge(
            "sesame_decode_queue_images", "Images that wait for a decode thread.", registry=registry
        )
        self.decode_threads_lost = Gauge(
            "sesame_decode_threads_lost",
            "Decode threads that hang in an image whose decoding was given up.",
            registry=registry,
        )
        self.decodes_given_up = Counter(
            "sesame_decodes_given_up_total", "Images that took longer to decode than decode_limit_s.", registry=registry
        )
        self.log_lines_dropped = Gauge(
            "sesame_log_lines_dropped",
            "Lines of the log that were dropped since the start, because stderr was not read in time.",
            registry=registry,
        )
        self.trace_records = Counter(
            "sesame_trace_records_total",
            "Requests and batches whose spans the collector has taken (sent), or that were dropped (dropped).",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("sent", "dropped"):
            self.trace_records.labels(outcome)  # so that both are there, and 0
        self.model_ready = Gauge(
            "sesame_model_ready", "1 while the model version is READY, else 0.", _VERSION, registry=registry
        )

        self.engine_failing = Gauge(
            "sesame_engine_failing",
            "1 while the engine of a READY model version fails every batch, and the server tests it; else 0.",
            _VERSION,
            registry=registry,
        )

    def totals(self) -> dict[str, int]:
        """Numbers of images since the start: `admitted`, and one for each outcome."""
        totals = {"admitted": 0}
        for counter, key in ((self.admitted, ""), (self.images, "outcome")):
            for sample in (sample for family in counter.collect() for sample in family.samples):
                if sample.name.endswith("_total"):
                    name = sample.labels[key] if key else "admitted"
                    totals[name] = totals.get(name, 0) + int(sample.value)
        return totals

    def face(self, face: str) -> "FaceMetrics":
        """The requests of "rest" or "grpc"."""
        return FaceMetrics(self.requests, face)

    def of(self, model: str, version: str) -> "ModelMetrics":
        return ModelMetrics(self, model, version)


OK, GONE = "ok", "gone"
"""Outcomes that are no error: answered; the client disconnected before the answer."""


class FaceMetrics:
    """Counts the requests of one face."""

    def __init__(self, requests: Counter, face: str) -> None:
        self._requests = requests
        self._face = face

    def ended(self, outcome: str) -> None:
        """`outcome`: OK, GONE or an error's code."""
        self._requests.labels(self._face, outcome).inc()


class ModelMetrics:
    """The metrics of one model version. Their labels are resolved once, because every image passes here."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        self._version = (model, version)
        self._metrics = metrics
        self._stages = {stage: metrics.stage_seconds.labels(model, version, stage) for stage in STAGES}
        self._admitted = metrics.admitted.labels(model, version)
        self._batch_images = metrics.batch_images.labels(model, version)
        self._last_batch = metrics.last_batch.labels(model, version)

    def admitted(self, images: int) -> None:
        self._admitted.inc(images)

    def refused(self, code: str, images: int) -> None:
        self._metrics.refused.labels(*self._version, code).inc(images)

    def outcome(self, outcome: str) -> None:
        self._metrics.images.labels(*self._version, outcome).inc()

    def refused_of_key(self, key: str, code: str, images: int) -> None:
        self._metrics.key_refused.labels(key, code).inc(images)

    def outcome_of_key(self, key: str, outcome: str) -> None:
        self._metrics.key_images.labels(key, outcome).inc()

    def took(self, stage: str, seconds: float) -> None:
        self._stages[stage].observe(seconds)

    def dispatched(self, images: int, reason: str) -> None:
        self._batch_images.observe(images)
        self._last_batch.set(time.time())
        self._metrics.dispatches.labels(*self._version, reason).inc()

    def watch(
        self, permits: Callable[[], float], queue_images: Callable[[], float], drain_s: Callable[[], float]
    ) -> None:
        """Have the gauges call these functions whenever metrics are read."""
        for gauge, value in zip(self._gauges(), (permits, queue_images, drain_s), strict=True):
            gauge.labels(*self._version).set_function(value)

    def unwatch(self) -> None:
        """The model is unloaded: its counters stay, and of its gauges only the time of its last batch."""
        for gauge in self._gauges():
            gauge.remove(*self._version)

    def _gauges(self) -> tuple[Gauge, ...]:
        return self._metrics.permits, self._metrics.queue_images, self._metrics.drain_seconds
