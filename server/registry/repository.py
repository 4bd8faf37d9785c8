"""Repository: the model versions that the server's folder, or a store, holds."""

from collections.abc import Mapping
from pathlib import Path

from bundle.errors import BundleError
from server.metrics import Metrics
from server.registry import folder
from server.registry.aliases import Aliases
from server.registry.catalogue import Catalogue
from server.registry.entry import Entry
from server.registry.folder import Found
from server.registry.remote_folder import RemoteFolder


class Repository(Catalogue):
    """The catalogue of the process that loads the models; `Deployer` loads and unloads them.

    Everything but `scan` runs on the event loop.
    """

    aliases: Aliases

    def __init__(self, root: Path, default_model: str, metrics: Metrics, remote: RemoteFolder | None = None) -> None:
        """Raises BundleError where the root cannot be read, holds no bundle, or lacks the default model.

        `remote`: the store whose cache the root is. It is asked later, in a thread; `lack` then says what is missing.
        """
        super().__init__(default_model)
        self.aliases = Aliases(root)
        self.root = root
        self.remote = remote
        self._metrics = metrics
        self._forgotten: dict[Path, Entry] = {}
        if remote is None:
            self.look()

    def look(self) -> None:
        """Take over what is there now, in the calling thread. Raises BundleError as the constructor does."""
        if not self.root.is_dir():
            raise BundleError(f"There is no model repository '{self.root}': give its folder with --model-repository.")
        try:
            self.update(self.scan())
        except OSError as error:
            raise BundleError(
                f"{folder.unreadable(self.root, error)}: let the server's user read it, or move it away."
            ) from error
        if lack := self.lack():
            raise BundleError(lack)

    def lack(self) -> str:
        """What has to be there and is not; "" where nothing is missing."""
        if not self._entries and self.remote:
            return f"No bundle of {self.remote.url} is here: look at the warning before."
        if not self._entries:
            return f"The folder '{self.root}' holds no bundle: make one with 'python -m export convert'."
        default = self.default_model
        if default and default not in self.names() and not self.aliases.get(default):
            return f"The default model '{default}' is not among {', '.join(self.names())}."
        return ""

    def scan(self) -> dict[Path, Found]:
        """The versions that are there now. Runs in the loading thread; raises OSError."""
        return self.remote.scan() if self.remote else folder.scan(self.root)

    def fetch(self, entry: Entry) -> None:
        """Bring an entry's files to its folder, if they are in a store. In the loading thread; raises BundleError."""
        if self.remote:
            self.remote.fetch(entry.path)

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
        self._metrics.engine_failing.labels(entry.name, entry.version).set_function(entry.is_failing)
        return entry

    def forget(self, entry: Entry) -> None:
        """Do not list it any more. It is remembered in case that its folder comes back."""
        self._entries.remove(entry)
        self._forgotten[entry.path] = entry
        self._metrics.model_ready.remove(entry.name, entry.version)
        self._metrics.engine_failing.remove(entry.name, entry.version)
