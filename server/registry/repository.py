"""Repository: the model versions that the server knows, and which of them a request means."""

from collections.abc import Mapping
from pathlib import Path

from bundle.errors import BundleError
from server.errors import Code, ServingError
from server.metrics import Metrics
from server.registry import folder
from server.registry.aliases import Aliases, ModelVersion
from server.registry.entry import Entry, State
from server.registry.folder import Found
from server.registry.loader import ReadyModel

_WHY_NOT = {
    State.LOADING: "is still loading: try again in a moment",
    State.FAILED: "failed to load: see /models",
    State.UNLOADED: "is not loaded in this version: see /models for those that are",
}


class Repository:
    """Knows the versions and chooses among them; `Deployer` loads and unloads them.

    Everything but `scan` runs on the event loop.
    """

    def __init__(self, root: Path, default_model: str, metrics: Metrics) -> None:
        """Raises BundleError where the root cannot be read, holds no bundle, or lacks the default model."""
        self.aliases = Aliases(root)
        self.root = root
        self._default_model = default_model
        self._metrics = metrics
        self._entries: list[Entry] = []
        self._forgotten: dict[Path, Entry] = {}
        if not root.is_dir():
            raise BundleError(f"There is no model repository '{root}': give its folder with --model-repository.")
        try:
            self.update(self.scan())
        except OSError as error:
            raise BundleError(
                f"{folder.unreadable(root, error)}: let the server's user read it, or move it away."
            ) from error
        if not self._entries:
            raise BundleError(f"The folder '{root}' holds no bundle: make one with 'python -m export convert'.")
        if default_model and default_model not in self.names() and not self.aliases.get(default_model):
            raise BundleError(f"The default model '{default_model}' is not among {', '.join(self.names())}.")

    def scan(self) -> dict[Path, Found]:
        """The bundles' folders that are there now. Runs in the loading thread; raises OSError."""
        return folder.scan(self.root)

    def update(self, found: Mapping[Path, Found]) -> list[Entry]:
        """Take over the result of a scan; returns the entries whose files are gone, which are still known.

        An entry that was forgotten and comes back is what it was: what an operator unloaded stays unloaded.
        """
        known = {entry.path: entry for entry in self._entries}
        for path, bundle in found.items():
            if path not in known:
                forgotten = self._forgotten.pop(path) if path in self._forgotten else None
                known[path] = self._add(forgotten or Entry(bundle.name, bundle.version, path, bundle.files))
        for path, entry in known.items():
            entry.observe(found[path].files if path in found else None)
        self._entries.sort(key=lambda entry: (entry.name, int(entry.version)))
        return [entry for entry in self._entries if entry.gone]

    def _add(self, entry: Entry) -> Entry:
        self._entries.append(entry)
        self._metrics.model_ready.labels(entry.name, entry.version).set_function(entry.is_ready)
        return entry

    def forget(self, entry: Entry) -> None:
        """Do not list it any more. It is remembered in case that its folder comes back."""
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
                Code.UNKNOWN_MODEL, f"There is no model '{name[:64]}': choose one of {', '.join(self.names())}."
            )
        return found

    def matching(self, name: str, version: str) -> list[Entry]:
        """The versions of a model, ascending: only the one of that number where a version is given.

        Raises ServingError where there is none.
        """
        candidates = self.versions(name)
        if version:
            if not (version.isascii() and version.isdecimal()):
                raise ServingError(Code.MALFORMED, "A version must be a whole number, such as 1.")
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

    def resolve(self, name: str, version: str) -> list[Entry]:
        """The versions that a model's name or an alias stands for, ascending. Raises as `matching` does."""
        target = self._target(name, version)
        return self.matching(target.model, target.version)

    def unserved(self) -> list[str]:
        """The models without a ready version whose versions all failed or still load: an operator unloaded none."""
        by_name = {name: self.versions(name) for name in self.names()}
        return [
            name
            for name, versions in by_name.items()
            if not any(entry.ready for entry in versions)
            and all(entry.state in (State.LOADING, State.FAILED) for entry in versions)
        ]

    def aliases_of(self, entry: Entry) -> list[str]:
        """The aliases that stand for this very version."""
        target = ModelVersion(entry.name, entry.version)
        return [alias for alias, at in self.aliases.all().items() if at == target]

    def _target(self, name: str, version: str) -> ModelVersion:
        target = None if name in self.names() else self.aliases.get(name)
        if target is None:
            return ModelVersion(name, version)
        if version:
            raise ServingError(Code.MALFORMED, f"The alias '{name}' stands for a version: leave version out.")
        return target

    def _only_model(self) -> str:
        names = [self._default_model] if self._default_model else self.names()
        if not names:
            raise ServingError(Code.NOT_READY, "No model is served here at present.", retry_after_s=1)
        if len(names) > 1:
            raise ServingError(Code.MALFORMED, f"Say which model: {', '.join(names)}.")
        return names[0]
