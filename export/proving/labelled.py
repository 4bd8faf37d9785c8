"""Labelled photos: files whose folder name or file name says which class they show."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.images import Pixels
from bundle.labels import Label
from bundle.manifest import Preprocessing
from export.errors import ExportError
from export.proving import samples


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo's path and the id of the class it shows."""

    path: Path
    id: str


def find(folder: Path, labels: Sequence[Label], most: int) -> list[LabelledPhoto]:
    """The photos under a folder that show one of the classes; if there are more than `most`, an even selection.

    The class comes from the name of the folder that holds a photo, or from the beginning of the file name: an id
    (`n01514668_cock.JPEG`) or a label (`airplane/0001.jpg`). Raises ExportError where no photo has a known class.
    """
    ids = _ids_by_name(labels)
    paths = samples.find_photos(folder)
    found = [LabelledPhoto(path, id) for path in paths if (id := _class_id(path, folder, ids)) is not None]
    if not found:
        raise ExportError(
            f"The class of none of the {len(paths)} photos under '{folder}' is known: put them in folders named after "
            f"classes, or begin their names with the class, e.g. '{labels[0].id}_1.jpg'."
        )
    return samples.take_evenly(found, most)


def class_indices(paths: Sequence[Path], folder: Path, labels: Sequence[Label]) -> NDArray[np.int64] | None:
    """The class index of each photo under a folder, (n,) int64; None unless the class of every photo is known."""
    ids = _ids_by_name(labels)
    index = {label.id: number for number, label in enumerate(labels)}
    found = [_class_id(path, folder, ids) for path in paths]
    return None if None in found else np.array([index[id] for id in found if id is not None])


def load_pixels(photos: Sequence[LabelledPhoto], preprocessing: Preprocessing) -> Pixels:
    """The photos, prepared as the server does. Raises ExportError for one that cannot be decoded."""
    return np.stack([samples.load_picture(photo.path, preprocessing) for photo in photos])


def _ids_by_name(labels: Sequence[Label]) -> Mapping[str, str]:
    """Class ids by id, and by label where no two classes have the same label."""
    names = [_normalised(label.name) for label in labels]
    by_label = {name: label.id for name, label in zip(names, labels, strict=True) if names.count(name) == 1}
    return by_label | {_normalised(label.id): label.id for label in labels}


def _class_id(path: Path, root: Path, ids: Mapping[str, str]) -> str | None:
    folders = [] if path.parent == root else [path.parent.name]
    stem = path.stem
    for name in (*folders, stem, stem.partition("_")[0], re.sub(r"[_-]?\d+$", "", stem)):
        if _normalised(name) in ids:
            return ids[_normalised(name)]
    return None


def _normalised(name: str) -> str:
    return re.sub(r"[\s_/-]+", " ", name).strip().casefold()
