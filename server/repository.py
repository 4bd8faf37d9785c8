"""Repository: the bundles that the server knows, the state of each version, and which one a request means."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bundle import files
from bundle.errors import BundleError
from server.engines import EngineFailed
from server.errors import Code, ServingError
from server.loader import Loader, ReadyModel
from server.metrics import Metrics
from server.threads import Threads

log = logging.getLogger(__name__)


class State(StrEnum):
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass
class Entry:
    """A model version, ready or not; `reason` says why it FAILED."""

    name: str
    version: str
    path: Path
    state: State = State.LOADING
    reason: str = ""
    ready: ReadyModel | None = None

    def is_ready(self) -> bool:
        return self.ready is not None


class Repository:
    """Finds bundles at once, loads them one after another, and chooses among them."""

    def __init__(self, root: Path, default_model: str, loader: Loader, metrics: Metrics) -> None:
        """Raises BundleError where the root holds no bundle, or not the default model."""
        self._default_model = default_model
        self._loader = loader
        if not root.is_dir():
            raise BundleError(f"There is no folder of bundles '{root}': name one with --bundles.")
        self._entries = [Entry(name, version, path) for name, version, path in files.find(root)]
        if not self._entries:
            raise BundleError(f"The folder '{root}' holds no bundle: make one with 'python -m export convert'.")
        if default_model and default_model not in self.names():
            raise BundleError(f"The default model '{default_model}' is none of {', '.join(self.names())}.")
        for entry in self._entries:
            metrics.model_ready.labels(entry.name, entry.version).set_function(entry.is_ready)

    def entries(self) -> list[Entry]:
        """All versions, by name and then number."""
        return list(self._entries)

    def names(self) -> list[str]:
        return list(dict.fromkeys(entry.name for entry in self._entries))

    def versions(self, name: str) -> list[Entry]:
        """The versions of a model, ascending; raises ServingError where there is none of that name."""
        found = [entry for entry in self._entries if entry.name == name]
        if not found:
            raise ServingError(
                Code.UNKNOWN_MODEL, f"There is no model '{name[:64]}': there is {', '.join(self.names())}."
            )
        return found

    async def load(self, threads: Threads) -> list[Entry]:
        """Load every bundle and return those that failed."""
        for entry in self._entries:
            await self._load(entry, threads)
        return [entry for entry in self._entries if entry.state is State.FAILED]

    async def _load(self, entry: Entry, threads: Threads) -> None:
        try:
            loaded = await threads.run(self._loader.load, entry.path)
            manifest = loaded.bundle.manifest
            if (manifest.name, manifest.version) != (entry.name, entry.version):
                raise BundleError(
                    f"The manifest names itself {manifest.name}/{manifest.version}: keep the folder as it was exported."
                )
            entry.ready, entry.state = self._loader.serve(loaded), State.READY
            log.info("model ready name=%s version=%s engine=%s", entry.name, entry.version, loaded.engine.name)
        except Exception as error:  # a runtime may raise anything at a graph that it cannot take
            known = isinstance(error, BundleError | EngineFailed)
            entry.state, entry.reason = (
                State.FAILED,
                str(error) if known else "no engine could be made of it: see the log",
            )
            log.error("model failed name=%s version=%s: %s", entry.name, entry.version, error, exc_info=not known)

    def unanswered(self) -> int:
        """Images admitted to any model and not yet answered."""
        return sum(entry.ready.batcher.taken for entry in self._entries if entry.ready)

    def pick(self, name: str, version: str) -> ReadyModel:
        """The model version that a request means; raises ServingError where it is unknown, unclear or not ready."""
        candidates = self.versions(name or self._only_model())
        if version:
            if not version.isdecimal():
                raise ServingError(Code.MALFORMED, "A version is a whole number, such as 1.")
            candidates = [entry for entry in candidates if entry.version == version]
            if not candidates:
                raise ServingError(Code.UNKNOWN_MODEL, f"The model has no version {version[:20]}: see /models.")
        ready = [entry.ready for entry in candidates if entry.ready]
        if not ready:
            loading = any(entry.state is State.LOADING for entry in candidates)
            what = "is still loading: try again in a moment" if loading else "failed to load: see /models"
            raise ServingError(Code.NOT_READY, f"The model '{candidates[0].name}' {what}.", retry_after_s=1)
        return ready[-1]

    def _only_model(self) -> str:
        names = [self._default_model] if self._default_model else self.names()
        if len(names) > 1:
            raise ServingError(Code.MALFORMED, f"Say which model: {', '.join(names)}.")
        return names[0]
