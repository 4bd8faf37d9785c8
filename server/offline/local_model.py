"""Local model: one version of the model repository in this process, with the parts that the server runs it with."""

import logging
import math

from prometheus_client import CollectorRegistry

from bundle.errors import BundleError
from server.engines.engine import EngineFailed
from server.errors import ServingError
from server.host import cores
from server.lifecycle import Lifecycle
from server.metrics import Metrics
from server.registry import activator
from server.registry.entry import Entry
from server.registry.loader import Loaded, QueueLimits
from server.registry.repository import Repository
from server.scheduling.threads import Threads
from server.service import Classifier, Limits
from server.settings import Settings
from server.startup.compose_loader import Choose, compose_decoders, compose_devices, compose_loader, compose_machine
from server.startup.compose_models import usable_gpus
from server.startup.compose_repository import compose_repository
from server.watch import DecodeWatch, EngineWatch, Watch

log = logging.getLogger(__name__)

_PERMITS = 1 << 16  # more than are ever under way: nobody else sends photos here, so none is refused


class UnknownModel(Exception):
    """The repository has no such model or version, or several and none was named. The message says the cure."""


class LocalModel:
    """A loaded version. It is made in the main thread, and serves on the event loop."""

    def __init__(self, settings: Settings, model: str, version: str, choose: Choose | None = None) -> None:
        """Load the version that a request with these words means, the highest where several are meant.

        Slow, and in the calling thread, so that Ctrl-C ends it. Raises UnknownModel; BundleError where the repository
        or the version cannot be loaded. `choose`: see `compose_loader`.
        """
        self._settings = settings
        self._metrics = Metrics(CollectorRegistry())
        self._repository = compose_repository(settings, self._metrics)
        if self._repository.remote:
            self._repository.look()
        self.entry = _meant(self._repository, model, version)
        shares = cores.shares(settings.decode_threads, settings.engine_threads)
        gpus = usable_gpus(settings.engine)
        self._devices = compose_devices(gpus)
        self._decoders = compose_decoders(settings, shares, Threads(1, "aside"))
        machine = compose_machine(settings, shares, gpus)
        limits = QueueLimits(_PERMITS, math.inf, settings.max_batch, remembered=0)
        self._loader = compose_loader(settings, machine, self._devices, self._decoders, limits, self._metrics, choose)
        self.loaded = self._load()
        self.ahead = 3 * self.loaded.batch * len(self.loaded.choice.engines) + 2 * shares.decode
        """How many photos must be under way to keep decoders and engines busy."""

    def serve(self) -> Classifier:
        """What answers from now on. Call it once, on the event loop."""
        ready, _ = self._loader.serve(self.loaded)
        self.entry.succeed(ready)
        limits = Limits(self._settings.max_image_bytes, self._settings.max_request_bytes, 1, math.inf, math.inf)
        return Classifier(self._repository, self._decoders, Lifecycle(), limits)

    def watches(self) -> list[Watch]:
        """What finds an engine or a decode thread that hangs."""
        engines = EngineWatch(list(self._devices.values()), self._repository, self._settings.engine_limit_s)
        return [engines, DecodeWatch(self._decoders, self._metrics.decodes_given_up.inc)]

    def _load(self) -> Loaded:
        self.entry.begin()
        try:
            self._repository.fetch(self.entry)
            return activator.load(self._loader, self.entry)
        except BundleError:
            raise
        except Exception as error:  # a runtime may raise anything for a graph that it cannot run
            if not isinstance(error, EngineFailed):
                log.exception("%s/%s", self.entry.name, self.entry.version)
            why = str(error) if isinstance(error, EngineFailed) else "no engine could be made of it"
            raise BundleError(
                f"{self.entry.name}/{self.entry.version} cannot be used: {why}. `doctor` says more."
            ) from error


def _meant(repository: Repository, model: str, version: str) -> Entry:
    try:
        return repository.meant(model, version)[-1]
    except ServingError as error:
        raise UnknownModel(f"{error.detail.rstrip('.')} (--model NAME, --version V).") from error
