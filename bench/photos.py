"""Photos: the files of a folder that measurements send."""

import re
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg")

_WORDNET_ID = re.compile(r"(n\d{8})_")


class NoPhotos(Exception):
    """A folder has no photo that can be used; the message says what it must hold."""


def jpegs(folder: Path) -> list[Path]:
    """The JPEG files of a folder by name. Raises NoPhotos where there is none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise NoPhotos(f"'{folder}' holds no JPEG file: give a folder of photos with --photos.")
    return found


def of_known_class(folder: Path) -> list[tuple[str, Path]]:
    """The WordNet id and path of each photo named `<WordNet id>_…`, by name. Raises NoPhotos where there is none."""
    found = [(match[1], path) for path in sorted(folder.glob("*")) if (match := _WORDNET_ID.match(path.name))]
    if not found:
        raise NoPhotos(f"'{folder}' holds no file named as n01443537_1.JPEG, <WordNet id>_…: give another --photos.")
    return found
