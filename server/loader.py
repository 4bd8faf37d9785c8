"""Loader: from a bundle's folder to a model that answers: verified, on an engine, warmed up and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bundle import files
from bundle.files import Bundle
from bundle.parity import Parity
from server import engines
from server.admission import Admission
from server.batcher import Batcher
from server.decoders import Decoders
from server.device import Device
from server.engines import Engine
from server.engines.candidate import Kind
from server.engines.choice import Choice
from server.flights import Flights
from server.metrics import Metrics, ModelMetrics
from server.pace import Pace


@dataclass(frozen=True)
class Loaded:
    """A bundle with its engines and why those; `parity` is what the worst of them kept on the bundle's probe.

    `batch_s`: seconds by batch size, up to the number of images that an engine runs best at once.
    """

    bundle: Bundle
    choice: Choice
    parity: Parity
    batch_s: dict[int, float]

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
    batcher: Batcher
    flights: Flights
    metrics: ModelMetrics


@dataclass(frozen=True)
class Queues:
    """How every model's queue is limited."""

    images: int
    max_wait_s: float
    max_batch: int
    remembered: int


Measure = Callable[[Engine, Bundle, int], dict[int, float]]
"""Seconds by batch size, up to the best size, which is not above that number."""


def measure(engine: Engine, bundle: Bundle, max_batch: int) -> dict[int, float]:
    """Measured now, nothing remembered."""
    return engines.measure(engine, bundle.probe.pixels, max_batch)


class Loader:
    """Loads bundles, each for the device of the kind that its engines run on."""

    def __init__(
        self,
        choose: Callable[[Bundle], Choice],
        devices: Mapping[Kind, Device],
        decoders: Decoders,
        queues: Queues,
        metrics: Metrics,
        measure: Measure = measure,
    ) -> None:
        self._choose = choose
        self._measure = measure
        self._devices = devices
        self._decoders = decoders
        self._queues = queues
        self._metrics = metrics

    def load(self, path: Path) -> Loaded:
        """Slow: for a thread. Raises BundleError or EngineFailed."""
        bundle = files.read(path)
        choice = self._choose(bundle)
        kept = [engines.check(engine, bundle.probe, self._queues.max_batch) for engine in choice.engines]
        # the processors of a device are alike: the first one's times hold for all, and the Pace corrects them
        batch_s = self._measure(choice.engine, bundle, self._queues.max_batch)
        self._decoders.warm_up(bundle.manifest.preprocessing)
        return Loaded(bundle, choice, max(kept, key=lambda parity: parity.max_dp), batch_s)

    def serve(self, loaded: Loaded) -> ReadyModel:
        """Give the model its queue. On the event loop."""
        manifest = loaded.bundle.manifest
        metrics = self._metrics.of(manifest.name, manifest.version)
        admission = Admission(self._queues.images, self._queues.max_wait_s)
        batcher = Batcher(
            [partial(engines.start, engine, classes=manifest.labels.classes) for engine in loaded.choice.engines],
            self._devices[loaded.choice.device],
            Pace(loaded.batch_s),
            loaded.batch,
            admission,
            lambda batch: metrics.dispatched(batch.ran, batch.reason),
        )
        metrics.watch(lambda: admission.taken, batcher.waits, lambda: self._decoders.left_s() + batcher.drain_s())
        return ReadyModel(loaded, batcher, Flights(self._queues.remembered), metrics)
