"""Labelled photos: files whose folder or own name tells what they show."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.images import Pixels
from bundle.labels import Label
from bundle.manifest import Preprocessing
from export import samples
from export.errors import ExportError


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo's path and the id of the class it shows."""

    path: Path
    id: str


def find(folder: Path, labels: Sequence[Label], most: int) -> list[LabelledPhoto]:
    """The photos under a folder that show one of the classes, at most so many, evenly taken from all of them.

    The class is told by the folder a photo lies in, or by the beginning of its name: an id (`n01514668_cock.JPEG`) or a
    label (`airplane/0001.jpg`). Raises ExportError where none is told.
    """
    known = _known(labels)
    paths = samples.paths(folder)
    found = [LabelledPhoto(path, told) for path in paths if (told := _told(path, folder, known)) is not None]
    if not found:
        raise ExportError(
            f"None of the {len(paths)} photos under '{folder}' tells its class: put them in folders named by class, or "
            f"begin their names with it, e.g. '{labels[0].id}_1.jpg'."
        )
    step = max(len(found) / most, 1)
    return [found[int(index * step)] for index in range(min(len(found), most))]


def classes(paths: Sequence[Path], folder: Path, labels: Sequence[Label]) -> NDArray[np.int64] | None:
    """The class of each photo under a folder; None where not all are told."""
    known = _known(labels)
    place = {label.id: index for index, label in enumerate(labels)}
    told = [_told(path, folder, known) for path in paths]
    return None if None in told else np.array([place[id] for id in told if id is not None])


def pixels(photos: Sequence[LabelledPhoto], preprocessing: Preprocessing) -> Pixels:
    """The photos prepared as the server would. Raises ExportError for one that cannot be decoded."""
    return np.stack([samples.picture(photo.path, preprocessing) for photo in photos])


def _known(labels: Sequence[Label]) -> Mapping[str, str]:
    """Ids by id, and by label where no two classes share it."""
    names = [_plain(label.name) for label in labels]
    by_name = {name: label.id for name, label in zip(names, labels, strict=True) if names.count(name) == 1}
    return by_name | {_plain(label.id): label.id for label in labels}


def _told(path: Path, root: Path, known: Mapping[str, str]) -> str | None:
    folders = [] if path.parent == root else [path.parent.name]
    stem = path.stem
    for name in (*folders, stem, stem.partition("_")[0], re.sub(r"[_-]?\d+$", "", stem)):
        if _plain(name) in known:
            return known[_plain(name)]
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s_/-]+", " ", name).strip().casefold()
