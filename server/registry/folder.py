"""Folder: reads which bundles the folder of the model repository holds."""

from pathlib import Path
from typing import NamedTuple

from bundle import files

Signature = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and time of change of each file of a bundle. When it differs, the bundle was written anew."""


class Found(NamedTuple):
    """A bundle's folder, not yet read."""

    name: str
    version: str
    files: Signature


def scan(root: Path) -> dict[Path, Found]:
    """The bundles' folders by path; none where the root is gone, as a volume may be for a moment.

    Reads the disk: once the server runs, call it in a thread. Raises OSError where a folder cannot be read.
    """
    if not root.is_dir():
        return {}
    return {path: Found(name, version, _signature(path)) for name, version, path in files.find(root)}


def unreadable(root: Path, error: OSError) -> str:
    """Which folder cannot be read and why, as the beginning of a sentence.

    Clients read it too: it does not say where the model repository lies.
    """
    path = Path(str(error.filename or root))
    shown = path.relative_to(root.parent) if path.is_relative_to(root.parent) else Path(path.name)
    return f"The folder '{shown}' cannot be read ({error.strerror or type(error).__name__})"


def _signature(path: Path) -> Signature:
    try:
        stats = [(file.name, file.stat()) for file in sorted(path.iterdir())]
    except OSError:  # it is being removed at this moment
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
