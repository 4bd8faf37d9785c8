"""Remote folder: a model repository in a store, and the folder of this machine that holds what is served of it."""

import errno
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from bundle import files
from bundle.atomic import write_atomically
from bundle.errors import BundleError
from remote.contents import is_whole
from remote.errors import RemoteError, Unreachable
from remote.listing import ALIASES, Listing, Version, listing
from remote.pull import pull
from remote.store import Item, Store, content
from server.registry import aliases
from server.registry.folder import Found, Signature

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 600.0
_MOST_ALIASES_BYTES = 1 << 20


class RemoteFolder:
    """All of it runs in the loading thread. `root` is this machine's folder: a cache, which this class owns.

    After the store could not be reached it is asked again after a pause, which doubles up to ten minutes. Until it has
    been reached for the first time, what the cache holds is served.
    """

    def __init__(self, store: Store, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises BundleError where the cache cannot be written."""
        self.url = store.url
        self.root = root
        self._store = store
        self._clock = clock
        self._found: dict[Path, Version] | None = None
        self._trouble = ""
        self._pause_s, self._ask_again_s = 0.0, -1.0
        self._spared: Collection[Path] = ()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BundleError(
                f"The cache '{root}' for {self.url} cannot be written ({error.strerror}): choose another folder with "
                "--cache-dir."
            ) from error

    def scan(self) -> dict[Path, Found]:
        """The versions in the store. Raises OSError where it cannot be read, and the cache is no help."""
        if self._clock() >= self._ask_again_s:
            self._ask()
        if self._trouble and (self._found is not None or not (cached := self._cached())):
            raise OSError(errno.EHOSTUNREACH, self._trouble, self.url)
        if self._trouble:
            return cached
        return {path: Found(one.name, one.version, _signature(one)) for path, one in (self._found or {}).items()}

    def fetch(self, path: Path) -> None:
        """Bring a version to its folder, whole and verified, if it is not there already.

        Raises BundleError; Unreachable among them, where the same may work later.
        """
        version = (self._found or {}).get(path)
        if version is None:  # the cache alone is known, or the store has it no more
            return
        signature = _signature(version)
        if _noted(path) == signature and is_whole(path):
            return
        log.info("fetching name=%s version=%s from=%s", version.name, version.version, self.url)
        try:
            pull(self._store, version, self.root, overwrite=True)
        except Unreachable as error:
            self._pause(error)
            raise
        write_atomically(_note(path), json.dumps(signature).encode())

    def tidy(self, needed: Collection[Path]) -> None:
        """Remove versions that are not needed, and were not the last time either: somebody may still be reading."""
        if self._found is None:
            return
        for _, _, path in list(files.find(self.root)):
            if path not in needed and path not in self._spared:
                _note(path).unlink(missing_ok=True)
                shutil.rmtree(path, ignore_errors=True)
        for draft in [*self.root.glob("*/.pull-*-*"), *self.root.glob("*/.old-*")]:
            if draft.parent / draft.name.split("-")[1] not in self._found:
                shutil.rmtree(draft, ignore_errors=True)
        self._spared = set(needed)

    def _ask(self) -> None:
        try:
            found = listing(self._store)
            self._follow_aliases(found)
        except RemoteError as error:
            self._pause(error)
            if self._found is None and any(self._cached()):
                log.warning("%s Until then the versions in '%s' are served.", error, self.root)
            return
        self._found = {self.root / one.name / one.version: one for one in found.versions}
        self._trouble, self._pause_s = "", 0.0

    def _pause(self, error: RemoteError) -> None:
        self._trouble = str(error).rstrip(".")
        self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._ask_again_s = self._clock() + self._pause_s

    def _follow_aliases(self, found: Listing) -> None:
        """Take over the store's file of aliases when it has changed. Aliases that are set here hold until then."""
        noted = self.root / f".{ALIASES}.mark"
        if found.aliases is None or _text(noted) == found.aliases.mark:
            return
        text = content(self._store, ALIASES, _MOST_ALIASES_BYTES)
        try:
            aliases.parsed(text.decode("utf-8", "replace"))
        except BundleError as error:
            log.warning("%s in %s: %s Until then the aliases stay as they are.", ALIASES, self.url, error)
        else:
            write_atomically(self.root / ALIASES, text)
        write_atomically(noted, found.aliases.mark.encode())

    def _cached(self) -> dict[Path, Found]:
        """The versions that were fetched before, as they looked in the store then."""
        noted = ((name, version, path, _noted(path)) for name, version, path in files.find(self.root))
        return {path: Found(name, version, signature) for name, version, path, signature in noted if signature}


def remote_folder(url: str, cache_dir: Path) -> RemoteFolder:
    """The store at a URL, with its part of the cache folder, whose name does not depend on credentials.

    Raises BundleError where the URL cannot be used. The store is not asked yet.
    """
    from remote.stores.opening import open_store  # who serves a folder needs no HTTP

    store = open_store(url)
    return RemoteFolder(store, cache_dir / "repositories" / hashlib.sha256(store.url.encode()).hexdigest()[:16])


def _signature(version: Version) -> Signature:
    return tuple((item.name, item.bytes, _number(item)) for item in version.items)


def _number(item: Item) -> int:
    return int.from_bytes(hashlib.sha256(item.mark.encode()).digest()[:6])


def _note(path: Path) -> Path:
    """Where it is noted what a fetched version looked like in the store."""
    return path.with_name(f".{path.name}.fetched.json")


def _noted(path: Path) -> Signature:
    with suppress(ValueError, TypeError):
        rows: list[tuple[str, int, int]] = json.loads(_text(_note(path)) or "[]")
        return tuple((str(name), int(size), int(mark)) for name, size, mark in rows)
    return ()


def _text(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")
    return ""
