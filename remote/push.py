"""Push: puts a version into a store. Its manifest comes last, so that nobody sees it before it is whole."""

from pathlib import Path

from bundle.errors import BundleError
from remote.contents import (
    CARD,
    MANIFEST,
    MOST_MANIFEST_BYTES,
    NamedFile,
    named_files,
    read_manifest,
)
from remote.errors import Absent, RemoteError
from remote.pull import Progress
from remote.store import WritableStore, content
from remote.urls import joined


def push(path: Path, store: WritableStore, progress: Progress, overwrite: bool = False) -> bool:
    """Put the version in the folder `path` under `<name>/<version>/` in the store. Returns False where it is there.

    With `overwrite` it is sent whatever is there. Raises BundleError where the folder is not a whole bundle, the store
    does not take it, or another bundle has that name and version there and `overwrite` is not given.
    """
    text, files = _checked(path)
    manifest = read_manifest(text)
    place = joined(manifest.name, manifest.version)
    there = _manifest_there(store, place)
    if there == text and not overwrite and _is_complete(store, place, path, files):
        return False
    if there not in (None, text) and not overwrite:
        raise RemoteError(
            f"{store.url} holds another bundle as {place}: export it as a new version, or replace it with --overwrite."
        )
    if there is not None:
        store.remove(joined(place, MANIFEST))
    names = [file.name for file in files] + [CARD] * (path / CARD).is_file()
    total = sum((path / name).stat().st_size for name in names)
    done = 0
    for name in names:
        store.write(joined(place, name), path / name, lambda sent, done=done: progress(done + sent, total))  # type: ignore[misc]
        done += (path / name).stat().st_size
    store.write(joined(place, MANIFEST), path / MANIFEST, lambda sent: None)
    return True


def _checked(path: Path) -> tuple[bytes, tuple[NamedFile, ...]]:
    """The manifest's text, and the files that it names, which are all there and right."""
    try:
        text = (path / MANIFEST).read_bytes()
        files = named_files(read_manifest(text))
        wrong = next((file.name for file in files if not file.is_whole(path / file.name)), None)
    except OSError as error:
        raise BundleError(f"'{error.filename}' cannot be read ({error.strerror}): export the bundle again.") from error
    if wrong:
        raise BundleError(
            f"'{path / wrong}' is not the file its manifest names (it is missing, or its sha256 differs): export the "
            "bundle again."
        )
    return text, files


def _manifest_there(store: WritableStore, place: str) -> bytes | None:
    try:
        return content(store, joined(place, MANIFEST), MOST_MANIFEST_BYTES)
    except Absent:
        return None


def _is_complete(store: WritableStore, place: str, path: Path, files: tuple[NamedFile, ...]) -> bool:
    """Whether all files are in the store, as far as their sizes tell. Pulling compares their hashes."""
    sizes = {item.name: item.bytes for item in store.items(place)}
    return all(sizes.get(joined(place, file.name)) == (path / file.name).stat().st_size for file in files)
