"""Metrics: what an operator watches, in Prometheus' terms. The registry is the caller's."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Every metric, named `sesame_…`; times in seconds, the unit of counts in their names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "sesame_requests_total",
            "Requests by outcome: ok, gone (the caller left), or an error's code.",
            ("face", "outcome"),
            registry=registry,
        )
        self.images = Counter(
            "sesame_images_total",
            "Images by outcome: ok, gone, or an error's code.",
            ("model", "version", "outcome"),
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "sesame_stage_seconds",
            "Time of one image in each stage: decode, queue, infer (its whole batch), total.",
            ("model", "version", "stage"),
            registry=registry,
            buckets=_SECONDS,
        )
        self.batch_images = Histogram(
            "sesame_batch_images", "Images in a batch.", ("model", "version"), registry=registry, buckets=_IMAGES
        )
        self.places = Gauge(
            "sesame_places_taken",
            "Images admitted and not yet answered: being decoded, waiting, or in the engine.",
            ("model", "version"),
            registry=registry,
        )
        self.model_ready = Gauge(
            "sesame_model_ready", "1 while the model version is READY.", ("model", "version"), registry=registry
        )
