"""Pull: brings a version from a store to a folder of this machine, verified, and whole or not at all."""

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from bundle.errors import BundleError
from remote.contents import (
    CARD,
    MANIFEST,
    MOST_CARD_BYTES,
    MOST_MANIFEST_BYTES,
    NamedFile,
    is_whole,
    named_files,
    read_manifest,
)
from remote.errors import Absent, RemoteError
from remote.listing import Version
from remote.store import Store, content
from remote.transfer import Wait, fetch
from remote.urls import joined

try:
    import fcntl
except ImportError:  # Windows: two pulls of one version at a time may disturb each other there
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[int, int], None]
"""Is told how many bytes of a version are there by now, and how many it has at least."""

_SPARE_BYTES = 64 << 20  # of the disk


def pull(
    store: Store,
    version: Version,
    root: Path,
    progress: Progress = lambda done, total: None,
    overwrite: bool = False,
    wait: Wait = time.sleep,
) -> bool:
    """Bring a version to `<root>/<name>/<version>/`. Returns False where it is there already.

    Until it is whole it lies in a hidden folder beside that place, from which the next pull goes on. Raises BundleError
    where the store cannot be read, its content is not what the manifest names, the disk has no room, or another bundle
    has that name and version here.
    """
    text = content(store, joined(version.folder, MANIFEST), MOST_MANIFEST_BYTES)
    manifest = read_manifest(text)
    files = named_files(manifest)
    if (manifest.name, manifest.version) != (version.name, version.version):
        raise RemoteError(
            f"The manifest in {store.url} at {version.name}/{version.version} names itself "
            f"{manifest.name}/{manifest.version}: keep folders as they were exported."
        )
    folder = root / version.name
    try:
        with _alone(folder, version.version):
            return _pull(store, version, folder, text, files, progress, overwrite, wait)
    except OSError as error:
        raise BundleError(
            f"{version.name}/{version.version} cannot be written to '{folder}' ({error.strerror or error}): choose "
            "another folder, or make room."
        ) from error


def draft_of(folder: Path, version: str, manifest: bytes) -> Path:
    """Where a version lies until it is whole. Another manifest has another place."""
    return folder / f".pull-{version}-{hashlib.sha256(manifest).hexdigest()[:16]}"


def _pull(
    store: Store,
    version: Version,
    folder: Path,
    text: bytes,
    files: tuple[NamedFile, ...],
    progress: Progress,
    overwrite: bool,
    wait: Wait,
) -> bool:
    target, draft = folder / version.version, draft_of(folder, version.version, text)
    if target.exists():
        equal = _bytes(target / MANIFEST) == text
        if equal and is_whole(target):
            return False
        if not equal and not overwrite:
            raise BundleError(
                f"'{target}' holds another bundle: pull into another folder, or replace it with --overwrite."
            )
    draft.mkdir(exist_ok=True)
    total = sum(file.bytes or 0 for file in files)
    _check_room(draft, total)
    done = 0
    for file in files:
        place, path = joined(version.folder, file.name), draft / file.name
        fetch(store, place, file, path, lambda came, done=done: progress(done + came, total), wait)  # type: ignore[misc]
        done += path.stat().st_size
    _add_card(store, version, draft)
    (draft / MANIFEST).write_bytes(text)
    _put_in_place(draft, target)
    for other in folder.glob(f".pull-{version.version}-*"):
        shutil.rmtree(other, ignore_errors=True)
    return True


def _add_card(store: Store, version: Version, draft: Path) -> None:
    """CARD.md is for people and has no hash in the manifest; not every bundle has one."""
    with contextlib.suppress(Absent):
        (draft / CARD).write_bytes(content(store, joined(version.folder, CARD), MOST_CARD_BYTES))


def _check_room(draft: Path, total: int) -> None:
    there = sum(path.stat().st_size for path in draft.iterdir())
    free = shutil.disk_usage(draft).free
    if total - there + _SPARE_BYTES > free:
        raise BundleError(
            f"'{draft.parent}' has {free >> 20} MiB free and the bundle needs {total >> 20} MiB: make room, or "
            "choose another folder."
        )


def _put_in_place(draft: Path, target: Path) -> None:
    """One rename. Where another bundle is replaced, it is moved away before that."""
    replaced = target.with_name(f".old-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        target.rename(replaced)
    draft.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def _bytes(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


@contextlib.contextmanager
def _alone(folder: Path, version: str) -> Iterator[None]:
    """No other process pulls this version to this folder meanwhile; it waits for its turn."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / f".pull-{version}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)  # this releases it too
