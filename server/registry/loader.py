"""Loader: turns a bundle's folder into a model that answers: verified, on an engine, warmed up and checked."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from bundle import files
from bundle.files import Bundle
from bundle.manifest import Preprocessing
from bundle.parity import Parity
from server.engines import batch_size, probe_check
from server.engines.choice import Choice
from server.engines.engine import Engine, start
from server.engines.table import Kind
from server.journal import BatchRun, Spans
from server.metrics import Metrics, ModelMetrics
from server.scheduling.admission import Admission
from server.scheduling.batch import Batch
from server.scheduling.batcher import Batcher
from server.scheduling.device import Device
from server.scheduling.latency import LatencyModel
from server.scheduling.permit import Queue
from server.scheduling.single_flight import SingleFlight


@dataclass(frozen=True)
class Loaded:
    """A bundle and its engines. `parity`: of the engine that differs most from the bundle's reference answers.

    `batch_s`: seconds by batch size, up to the batch size that is fastest per image. `number` tells the loads of a
    process apart.
    """

    bundle: Bundle
    choice: Choice
    parity: Parity
    batch_s: dict[int, float]
    number: int = field(default_factory=itertools.count(1).__next__)

    @property
    def engine(self) -> Engine:
        return self.choice.engine

    @property
    def batch(self) -> int:
        return max(self.batch_s)


@dataclass(frozen=True, eq=False)
class ReadyModel:
    """A model version that answers."""

    loaded: Loaded
    queue: Queue
    single_flight: SingleFlight
    metrics: ModelMetrics


@dataclass(frozen=True)
class QueueLimits:
    """The limits of each model's queue. `remembered`: how many answers are kept for photos that come again."""

    images: int
    max_wait_s: float
    max_batch: int
    remembered: int


Measure = Callable[[Engine, Bundle, int], dict[int, float]]
"""Returns seconds by batch size, up to the batch size that is fastest per image, which is at most that number."""


def measure(engine: Engine, bundle: Bundle, max_batch: int) -> dict[int, float]:
    """Measure now, without a cache."""
    return batch_size.measure(engine, bundle.probe.pixels, max_batch)


class Decoding(Protocol):
    """What a loader asks of the decoders."""

    def warm_up(self, preprocessing: Preprocessing) -> None:
        """Measure how long a photo takes. Slow: for a thread."""
        ...

    def left_s(self) -> float:
        """How long until all photos that wait, or are being decoded, are done."""
        ...


class Loader:
    """Loads bundles, and connects each to the device that its engines run on."""

    def __init__(
        self,
        choose: Callable[[Bundle], Choice],
        devices: Mapping[Kind, Device],
        decoding: Decoding,
        limits: QueueLimits,
        metrics: Metrics,
        measure: Measure = measure,
        spans: Spans | None = None,
    ) -> None:
        """`spans`: what records the batches of requests whose traces are recorded."""
        self._choose = choose
        self._measure = measure
        self._devices = devices
        self._decoding = decoding
        self._limits = limits
        self._metrics = metrics
        self._spans = spans

    def load(self, path: Path) -> Loaded:
        """Takes seconds: call it in a thread. Raises BundleError or EngineFailed."""
        bundle = files.read(path)
        choice = self._choose(bundle)
        parities = [probe_check.check(engine, bundle.probe, self._limits.max_batch) for engine in choice.engines]
        # all processors of a device are of one kind: the first one's times hold for all, and LatencyModel corrects them
        batch_s = self._measure(choice.engine, bundle, self._limits.max_batch)
        self._decoding.warm_up(bundle.manifest.preprocessing)
        return Loaded(bundle, choice, max(parities, key=lambda parity: parity.max_dp), batch_s)

    def serve(self, loaded: Loaded) -> tuple[ReadyModel, Batcher]:
        """Give the model its queue. Call it on the event loop."""
        manifest = loaded.bundle.manifest
        metrics = self._metrics.of(manifest.name, manifest.version)
        admission = Admission(self._limits.images, self._limits.max_wait_s)
        batcher = Batcher(
            [partial(start, engine, classes=manifest.labels.classes) for engine in loaded.choice.engines],
            self._devices[loaded.choice.device],
            LatencyModel(loaded.batch_s),
            loaded.batch,
            admission,
            partial(self._ran, loaded, metrics),
        )
        metrics.watch(
            lambda: admission.taken, batcher.queue.waiting, lambda: self._decoding.left_s() + batcher.drain_s()
        )
        return ReadyModel(loaded, batcher, SingleFlight(self._limits.remembered), metrics), batcher

    def _ran(self, loaded: Loaded, metrics: ModelMetrics, batch: Batch) -> None:
        """A batch of the model has run."""
        metrics.dispatched(batch.ran, batch.reason)
        if self._spans and (recorded := batch.recorded()):
            manifest = loaded.bundle.manifest
            self._spans.batch(
                BatchRun(
                    manifest.name,
                    manifest.version,
                    f"{loaded.engine.name} {loaded.engine.precision}",
                    batch.reason,
                    batch.ran,
                    batch.failed,
                    batch.began_at_s,
                    batch.began_at_s + batch.infer_s,
                    recorded,
                )
            )
