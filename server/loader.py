"""Loader: from a bundle's folder to a model that answers: verified, on an engine, warmed up and checked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bundle import files
from bundle.files import Bundle
from bundle.parity import Parity
from server import engines
from server.batcher import Batcher, Device
from server.engines import Engine
from server.engines.choice import Choice
from server.metrics import Metrics


@dataclass(frozen=True)
class Loaded:
    """A bundle with its engine and why that one; `parity` is what the engine kept on the bundle's probe.

    `batch` is the number of images that the engine runs best at once.
    """

    bundle: Bundle
    engine: Engine
    why: str
    parity: Parity
    batch: int


@dataclass(frozen=True)
class ReadyModel:
    """A model version that answers."""

    loaded: Loaded
    batcher: Batcher


class Loader:
    """Loads bundles for one device."""

    def __init__(
        self, choose: Callable[[Bundle], Choice], device: Device, queue_images: int, max_batch: int, metrics: Metrics
    ) -> None:
        self._choose = choose
        self._device = device
        self._queue_images = queue_images
        self._max_batch = max_batch
        self._metrics = metrics

    def load(self, path: Path) -> Loaded:
        """Slow: for a thread. Raises BundleError or EngineFailed."""
        bundle = files.read(path)
        choice = self._choose(bundle)
        parity = engines.check(choice.engine, bundle.probe, self._max_batch)
        batch = engines.best_batch(choice.engine, bundle.probe.pixels, self._max_batch)
        return Loaded(bundle, choice.engine, choice.why, parity, batch)

    def serve(self, loaded: Loaded) -> ReadyModel:
        """Give the model its queue. On the event loop."""
        manifest = loaded.bundle.manifest
        name = (manifest.name, manifest.version)
        batcher = Batcher(
            lambda pixels: engines.run_checked(loaded.engine, pixels, manifest.labels.classes),
            self._device,
            self._queue_images,
            loaded.batch,
            self._metrics.batch_images.labels(*name).observe,
        )
        self._metrics.places.labels(*name).set_function(lambda: batcher.taken)
        return ReadyModel(loaded, batcher)
