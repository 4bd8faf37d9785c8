"""Folder store: a folder that is mounted here, as a store (`file://`, or a path)."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from remote.errors import Absent, RemoteError, Unreachable
from remote.store import CHUNK_BYTES, Item, Reading, Report


class FolderStore:
    """Objects are files. Files whose name begins with a dot are left out."""

    def __init__(self, root: Path) -> None:
        self.url = str(root)
        self._root = root

    def items(self, folder: str = "") -> Iterator[Item]:
        if not self._root.is_dir():
            raise Unreachable(f"There is no folder '{self._root}': mount it, or give another one.")
        for place, folders, files in os.walk(self._root / folder, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for path in (Path(place, name) for name in sorted(files) if not name.startswith(".")):
                try:
                    stat = path.stat()
                except FileNotFoundError:  # it is being replaced at this moment
                    continue
                yield Item(path.relative_to(self._root).as_posix(), stat.st_size, str(stat.st_mtime_ns))

    def read(self, name: str, start: int = 0) -> Reading:
        try:
            size = (self._root / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Absent(f"There is no {name} in '{self._root}': give the URL of a bundle.") from error
        except OSError as error:
            _refuse(error)
            raise
        return Reading(start if start < size else 0, self._chunks(name, start if start < size else 0))

    def write(self, name: str, path: Path, report: Report) -> None:
        target = self._root / name
        draft = target.with_name(f".tmp-{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, draft.open("wb") as file:
                while chunk := source.read(CHUNK_BYTES):
                    file.write(chunk)
                    report(file.tell())
            shutil.copymode(path, draft)
            draft.replace(target)
        except OSError as error:
            raise RemoteError(
                f"'{target}' cannot be written ({error.strerror}): choose another folder, or make room."
            ) from error
        finally:
            draft.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def _chunks(self, name: str, start: int) -> Iterator[bytes]:
        try:
            with (self._root / name).open("rb") as file:
                if start:  # a pipe cannot seek
                    file.seek(start)
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            _refuse(error)


def _refuse(error: OSError) -> None:
    raise Unreachable(f"'{error.filename}' cannot be read ({error.strerror}): let this user read it.") from error
