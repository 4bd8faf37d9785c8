"""Mirror: the core's catalogue in a front, with what the front itself needs of each version."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from bundle.images import Pixels
from bundle.parity import Parity
from server.engines.choice import Choice
from server.engines.table import Kind
from server.metrics import Metrics
from server.processes.front.remote_queue import RemoteQueue
from server.processes.front.session import Session
from server.processes.wire import messages as m
from server.registry.catalogue import Catalogue
from server.registry.entry import Entry, State
from server.registry.loader import Decoding, Loaded, ReadyModel
from server.registry.target import Target
from server.scheduling.single_flight import SingleFlight
from server.scheduling.threads import Threads

log = logging.getLogger(__name__)


class _Aliases:
    """The aliases that the core has."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}

    def get(self, name: str) -> Target | None:
        return self.targets.get(name)

    def all(self) -> dict[str, Target]:
        return dict(self.targets)


@dataclass(frozen=True)
class _RemoteEngine:
    """What a front knows of an engine."""

    name: str
    precision: str

    def run(self, pixels: Pixels) -> NoReturn:
        raise RuntimeError("An engine of the core was run in a front. This is a bug.")


class Mirror(Catalogue):
    """Knows a version as ready once its bundle has been read here. Runs on the event loop of a front."""

    def __init__(
        self, default_model: str, decoding: Decoding, threads: Threads, metrics: Metrics, remembered: int
    ) -> None:
        """`threads` read bundles. `remembered`: how many answers are kept for photos that come again."""
        super().__init__(default_model)
        self.aliases = self._aliases = _Aliases()
        self.complete = asyncio.Event()  # all that the core found at its start is loaded, and known here
        self.known = asyncio.Event()  # that, or that the core still loads
        self._decoding = decoding
        self._threads = threads
        self._metrics = metrics
        self._remembered = remembered
        self._bundles: dict[int, asyncio.Task[Bundle]] = {}  # by the number of the load
        self._ready: dict[int, ReadyModel] = {}
        self._latest: tuple[Session, m.Catalogue] | None = None

    async def prepare(self, session: Session, offer: m.Offer) -> None:
        """Read an offered bundle, and tell the core."""
        if session.lost:  # the number may already mean another core's load
            return
        fault = ""
        try:
            await asyncio.shield(self._bundle(offer.load, offer.path))
        except BundleError as error:
            fault = str(error)
        except Exception:
            log.exception("the bundle in %s could not be read", offer.path)
            fault = "a front could not read it: see the log"
        session.send(m.Prepared(offer.load, fault))

    def update(self, session: Session, catalogue: m.Catalogue) -> None:
        """The core has sent its catalogue."""
        self._latest = session, catalogue
        for version in catalogue.versions:
            if version.load and version.load not in self._ready:
                self._bundle(version.load, version.path).add_done_callback(self._again)
        self._take_over(session, catalogue)

    def clear(self) -> None:
        """There is no core: nothing is ready, and the numbers of the next one mean other loads."""
        self._latest = None
        self._bundles.clear()
        self._ready.clear()
        for entry in self._entries:
            if entry.ready:
                entry.ready = None
                entry.state = State.LOADING

    def _again(self, _: "asyncio.Task[Bundle]") -> None:
        """A bundle has been read, or cannot be read."""
        if self._latest:
            self._take_over(*self._latest)

    def _take_over(self, session: Session, catalogue: m.Catalogue) -> None:
        self._aliases.targets = catalogue.aliases
        self._entries = [self._entry(session, version) for version in catalogue.versions]
        current = {version.load for version in catalogue.versions}
        self._ready = {load: ready for load, ready in self._ready.items() if load in current}
        newest = max(current, default=0)
        self._bundles = {load: task for load, task in self._bundles.items() if load in current or load > newest}
        unread = [
            version
            for version, entry in zip(catalogue.versions, self._entries, strict=True)
            if version.load and entry.state is State.LOADING
        ]
        if catalogue.complete and not unread:  # what the core itself loads now may take long
            self.complete.set()
        if self.complete.is_set() or not catalogue.complete:
            self.known.set()

    def _entry(self, session: Session, version: m.Version) -> Entry:
        entry = Entry(version.name, version.version, Path(version.path), (), fault=version.reason)
        entry.state = State(version.state)
        if version.load:
            self._make_ready(session, version, entry)
        return entry

    def _make_ready(self, session: Session, version: m.Version, entry: Entry) -> None:
        reading = self._bundles.get(version.load)
        if reading and reading.done() and not reading.exception():
            self._ready[version.load] = self._made(session, version, self._bundles.pop(version.load).result())
        entry.ready = self._ready.get(version.load)
        if entry.ready:
            queue = entry.ready.queue
            assert isinstance(queue, RemoteQueue)
            queue.sick = version.sick
        elif reading and reading.done():
            entry.state, entry.fault = State.FAILED, str(reading.exception())
        else:
            entry.state = State.LOADING

    def _made(self, session: Session, version: m.Version, bundle: Bundle) -> ReadyModel:
        engine = _RemoteEngine(version.engine, version.precision)
        device: Kind = "gpu" if version.device == "gpu" else "cpu"
        choice = Choice(engine, version.why, (engine,) * (version.copies - 1), device)
        parity = Parity(*version.parity, sure_images=0, sure_agreement=0.0)
        loaded = Loaded(bundle, choice, parity, {version.batch: 0.0}, version.load)
        return ReadyModel(
            loaded,
            RemoteQueue(session, version.load, bundle.manifest.labels.classes),
            SingleFlight(self._remembered),
            self._metrics.of(version.name, version.version),
        )

    def _bundle(self, load: int, path: str) -> "asyncio.Task[Bundle]":
        if load not in self._bundles:
            self._bundles[load] = asyncio.create_task(self._read(Path(path)))
        return self._bundles[load]

    async def _read(self, path: Path) -> Bundle:
        return await self._threads.run(self._read_in_thread, path)

    def _read_in_thread(self, path: Path) -> Bundle:
        bundle = files.read(path)
        self._decoding.warm_up(bundle.manifest.preprocessing)
        return bundle
