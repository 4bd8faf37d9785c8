"""Repository: the bundles that the server knows, the state of each version, and which one a request means."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bundle import files
from bundle.errors import BundleError
from server.aliases import Aliases, Target
from server.errors import Code, ServingError
from server.loader import ReadyModel
from server.metrics import Metrics

Signature = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of each file of a bundle: when it differs, the bundle was written anew."""


class State(StrEnum):
    UNLOADED = "UNLOADED"
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"


_GONE = "its files are gone: what is in memory is served until they are back, or another version is ready"

_WHY_NOT = {
    State.LOADING: "is still loading: try again in a moment",
    State.FAILED: "failed to load: see /models",
    State.UNLOADED: "is not loaded in this version: see /models for those that are",
}


@dataclass(eq=False)
class Entry:
    """A model version, ready or not.

    `seen` is what its files looked like when they were last there. `tried` is what they looked like when they were last
    loaded, or unloaded by an operator; None: they may be loaded. `gone`: the files are not there at present.
    `fault` says why it FAILED, or, while READY, why its newer files are not served.
    """

    name: str
    version: str
    path: Path
    seen: Signature
    tried: Signature | None = None
    state: State = State.LOADING
    fault: str = ""
    gone: bool = False
    ready: ReadyModel | None = None
    wanted: bool = False  # an operator asked for this very version: it stays when newer ones come

    @property
    def reason(self) -> str:
        """What operators should know of it, besides its state."""
        return _GONE if self.gone else self.fault

    def is_ready(self) -> bool:
        return self.ready is not None

    def answers(self) -> bool:
        return self.ready is not None and not self.ready.batcher.sick


class Repository:
    """Knows and chooses; the keeper loads and unloads."""

    def __init__(self, root: Path, default_model: str, metrics: Metrics) -> None:
        """Raises BundleError where the root cannot be read, holds no bundle, or not the default model."""
        self.aliases = Aliases(root)
        self.root = root
        self._default_model = default_model
        self._metrics = metrics
        self._entries: list[Entry] = []
        self._forgotten: dict[Path, Entry] = {}
        if not root.is_dir():
            raise BundleError(f"There is no folder of bundles '{root}': name one with --bundles.")
        try:
            self.update(self.found())
        except OSError as error:
            raise BundleError(f"{unreadable(root, error)}: let the server's user read it, or move it away.") from error
        if not self._entries:
            raise BundleError(f"The folder '{root}' holds no bundle: make one with 'python -m export convert'.")
        if default_model and default_model not in self.names() and not self.aliases.get(default_model):
            raise BundleError(f"The default model '{default_model}' is none of {', '.join(self.names())}.")

    def found(self) -> dict[Path, tuple[str, str, Signature]]:
        """Name, version and signature of each bundle's folder; nothing where the root is gone, as a volume can be.

        Reads the disk: once the server runs, for a thread. Raises OSError where a folder cannot be read.
        """
        if not self.root.is_dir():
            return {}
        return {path: (name, version, _signature(path)) for name, version, path in files.find(self.root)}

    def update(self, found: Mapping[Path, tuple[str, str, Signature]]) -> list[Entry]:
        """Take over what was found; returns the entries whose files are gone, which are still known.

        An entry that was forgotten and comes back is what it was: what an operator unloaded stays unloaded.
        """
        known = {entry.path: entry for entry in self._entries}
        for path, (name, version, signature) in found.items():
            if path not in known:
                forgotten = self._forgotten.pop(path) if path in self._forgotten else None
                known[path] = self._remember(forgotten or Entry(name, version, path, signature))
        for path, entry in known.items():
            _, _, signature = found.get(path, ("", "", ()))
            _see(entry, signature, there=path in found)
        self._entries.sort(key=lambda entry: (entry.name, int(entry.version)))
        return [entry for entry in self._entries if entry.gone]

    def _remember(self, entry: Entry) -> Entry:
        self._entries.append(entry)
        self._metrics.model_ready.labels(entry.name, entry.version).set_function(entry.is_ready)
        return entry

    def forget(self, entry: Entry) -> None:
        self._entries.remove(entry)
        self._forgotten[entry.path] = entry
        self._metrics.model_ready.remove(entry.name, entry.version)

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

    def matching(self, name: str, version: str) -> list[Entry]:
        """The versions that are meant, ascending: the one of that number, or all where none is given.

        Raises ServingError where there is none.
        """
        candidates = self.versions(name)
        if version:
            if not (version.isascii() and version.isdecimal()):
                raise ServingError(Code.MALFORMED, "A version is a whole number, such as 1.")
            candidates = [entry for entry in candidates if entry.version == version]
            if not candidates:
                raise ServingError(Code.UNKNOWN_MODEL, f"The model has no version {version[:20]}: see /models.")
        return candidates

    def pick(self, name: str, version: str) -> ReadyModel:
        """The model version that a request means; raises ServingError where it is unknown, unclear or not ready."""
        target = self._target(name or self._only_model(), version)
        candidates = self.matching(target.model, target.version)
        ready = [entry.ready for entry in candidates if entry.ready]
        if not ready:
            states = {entry.state for entry in candidates}
            what = next(what for state, what in _WHY_NOT.items() if state in states)
            raise ServingError(Code.NOT_READY, f"The model '{candidates[0].name}' {what}.", retry_after_s=1)
        return ready[-1]

    def meant(self, name: str, version: str) -> list[Entry]:
        """The versions that a model's name or an alias stands for, ascending. Raises as `matching` does."""
        target = self._target(name, version)
        return self.matching(target.model, target.version)

    def unserved(self) -> list[str]:
        """The models of which no version is ready, though an operator unloaded none: each failed, or still loads."""
        by_name = {name: self.versions(name) for name in self.names()}
        return [
            name
            for name, versions in by_name.items()
            if not any(entry.ready for entry in versions)
            and all(entry.state in (State.LOADING, State.FAILED) for entry in versions)
        ]

    def aliased(self, entry: Entry) -> list[str]:
        """The aliases that stand for this very version."""
        target = Target(entry.name, entry.version)
        return [alias for alias, at in self.aliases.all().items() if at == target]

    def _target(self, name: str, version: str) -> Target:
        target = None if name in self.names() else self.aliases.get(name)
        if target is None:
            return Target(name, version)
        if version:
            raise ServingError(Code.MALFORMED, f"The alias '{name}' stands for a version: leave version out.")
        return target

    def _only_model(self) -> str:
        names = [self._default_model] if self._default_model else self.names()
        if not names:
            raise ServingError(Code.NOT_READY, "There is no model here.", retry_after_s=1)
        if len(names) > 1:
            raise ServingError(Code.MALFORMED, f"Say which model: {', '.join(names)}.")
        return names[0]


def unreadable(root: Path, error: OSError) -> str:
    """What cannot be read, under a root, and why: the beginning of a sentence."""
    return f"The folder '{error.filename or root}' cannot be read ({error.strerror or error})"


def _see(entry: Entry, signature: Signature, there: bool) -> None:
    """An empty folder counts as gone if it was not empty before: so does an unmounted volume look."""
    gone = not there or (not signature and bool(entry.seen))
    if entry.gone and not gone and entry.fault:
        entry.tried = None  # it may have failed because its files went away
    entry.gone = gone
    if not gone:
        entry.seen = signature


def _signature(path: Path) -> Signature:
    try:
        stats = [(file.name, file.stat()) for file in sorted(path.iterdir())]
    except OSError:  # it goes away just now
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
