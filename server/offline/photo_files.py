"""Photo files: which files the arguments of `classify` mean."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.headers import SIGNATURE_BYTES, is_photo

_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})


@dataclass(frozen=True)
class PhotoFile:
    """A file to classify. `fault`: why it cannot be read, where that is known already; else ""."""

    path: Path
    fault: str = ""


def find(arguments: Sequence[Path]) -> list[PhotoFile]:
    """Each argument that is no folder, and the photos in those that are, in subfolders too and sorted.

    In a folder a photo is a file with the suffix of one, or whose first bytes are those of a JPEG, PNG or WebP. Names
    that begin with a point are left out, and links to folders are not followed. Opens every file without such a suffix.
    """
    return [file for argument in arguments for file in (_in(argument) if argument.is_dir() else [PhotoFile(argument)])]


def _in(folder: Path) -> Iterator[PhotoFile]:
    faults: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=faults.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(root, name) for name in sorted(names) if not name.startswith(".")]
        yield from (PhotoFile(path) for path in paths if _may_be_photo(path))
        yield from (PhotoFile(Path(fault.filename), unreadable(fault)) for fault in faults)
        faults.clear()
    yield from (PhotoFile(Path(fault.filename), unreadable(fault)) for fault in faults)


def unreadable(error: OSError) -> str:
    """What is said of a file or folder that cannot be read."""
    return f"It cannot be read ({error.strerror or error})."


def _may_be_photo(path: Path) -> bool:
    if not path.is_file():  # a pipe would hold up whoever opens it
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return is_photo(file.read(SIGNATURE_BYTES))
    except OSError:  # nothing says that it is a photo
        return False
