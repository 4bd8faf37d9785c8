"""Checkpoint: a file that a training wrote, and the set of weights that is taken from it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models import openers, weight_sets
from models.errors import CheckpointError
from models.tensors import Tensors


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint file, without wrappers and prefixes. `taken` describes in words which set they are.

    Where the file has them: `arch` is its name for the network, `classes` are the class names in output order, and
    `layers` has the settings of each layer in a Caffe file (stride, padding, epsilon).
    """

    file: str
    sha256: str
    tensors: Tensors
    taken: str
    arch: str | None = None
    classes: tuple[str, ...] | None = None
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read(
    path: Path,
    weights: str | None = None,
    known: Callable[[Tensors], bool] = lambda tensors: False,
    skip_objects: bool = False,
) -> Checkpoint:
    """Open a checkpoint. `weights` names the set of weights to take where the file holds several.

    Without `weights`, the best set that `known` accepts, as it is or without prefixes, is taken. `skip_objects` leaves
    out objects that are not plain data. Raises CheckpointError when the file cannot be read, holds such objects and may
    not skip them, or holds no weights.
    """
    content = openers.content(path, skip_objects)
    found = weight_sets.choose(content, weights, known, path.name)
    tensors = found.inference_tensors()
    if not tensors:
        raise CheckpointError(
            f"'{path.name}' holds no weights, only what training needs: give a file with the network's state_dict()."
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    arch, classes = _arch(content), _classes(content, path.name)
    layers = content.get("layers", {}) if path.suffix == ".caffemodel" and isinstance(content, Mapping) else {}
    return Checkpoint(path.name, sha256, tensors, found.description(), arch, classes, layers)


def _arch(content: object) -> str | None:
    arch = content.get("arch") if isinstance(content, Mapping) else None
    return arch if isinstance(arch, str) else None


def _classes(content: object, file: str) -> tuple[str, ...] | None:
    """The names in `class_to_idx`, in which torchvision's ImageFolder numbers the folders."""
    numbered = content.get("class_to_idx") if isinstance(content, Mapping) else None
    if not isinstance(numbered, Mapping) or not numbered:
        return None
    by_index = {index: str(name) for name, index in numbered.items()}
    if sorted(by_index, key=str) != sorted(range(len(numbered)), key=str):
        raise CheckpointError(
            f"The class_to_idx in '{file}' does not number the classes from 0: give --labels FILE instead."
        )
    return tuple(by_index[index] for index in range(len(numbered)))
