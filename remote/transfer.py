"""Transfer: fetches one file of a bundle, goes on after a break, and verifies it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from remote.contents import NamedFile
from remote.errors import RemoteError, Unreachable
from remote.store import Report, Store

Wait = Callable[[float], None]
"""Waits for so many seconds."""

_PAUSES_S = (1.0, 2.0, 4.0)
_MOST_BREAKS = 100


def fetch(store: Store, place: str, file: NamedFile, path: Path, report: Report, wait: Wait) -> None:
    """Fetch the object at `place` to `path`. What is there already is kept where it is right.

    What came before a break stays at `path`, to go on with. Raises Unreachable after several breaks in a row in which
    nothing came, RemoteError where the object is not the file, and OSError.
    """
    if file.is_whole(path):
        return report(path.stat().st_size)
    resumed = path.exists()
    _complete(store, place, file, path, report, wait)
    if not file.is_whole(path) and resumed:  # what was there before may have been of another file
        path.unlink()
        _complete(store, place, file, path, report, wait)
    if not file.is_whole(path):
        path.unlink()
        raise RemoteError(
            f"{file.name} in {store.url}{f' ({place})' if place != file.name else ''} is not the file its manifest "
            "names (sha256 differs): push the bundle again with --overwrite."
        )
    return None


def _complete(store: Store, place: str, file: NamedFile, path: Path, report: Report, wait: Wait) -> None:
    """Append to the file until the object ends. A break is no error as long as something comes."""
    in_vain = 0
    for _ in range(_MOST_BREAKS):
        had = _size(path)
        try:
            return _append(store, place, file, path, report)
        except Unreachable:
            in_vain = 0 if _size(path) > had else in_vain + 1
            if in_vain > len(_PAUSES_S):
                raise
            if in_vain:
                wait(_PAUSES_S[in_vain - 1])
    raise Unreachable(f"{store.url} broke off {_MOST_BREAKS} times while {file.name} was read: try again later.")


def _append(store: Store, place: str, file: NamedFile, path: Path, report: Report) -> None:
    start = _size(path)
    if start >= (file.bytes or file.most_bytes):
        path.unlink()
        start = 0
    reading = store.read(place, start)
    came = reading.start
    with path.open("r+b" if path.exists() else "wb") as target:
        target.seek(came)
        target.truncate()
        for chunk in reading.chunks:
            came += len(chunk)
            if came > file.most_bytes:
                target.truncate(0)
                raise RemoteError(
                    f"{file.name} in {store.url} is larger than the {file.most_bytes} bytes that its manifest allows: "
                    "push the bundle again with --overwrite."
                )
            target.write(chunk)
            report(came)
    if file.bytes is not None and came < file.bytes:
        raise Unreachable(f"{file.name} in {store.url} ended after {came} of {file.bytes} bytes: push it again.")


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
