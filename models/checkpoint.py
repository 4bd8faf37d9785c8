"""Checkpoint: a file somebody trained, and the set of weights in it that is meant."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from models import openers
from models.errors import CheckpointError
from models.tensors import Tensors

CONTAINERS = (
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "params",
    "module",
)
"""Where training scripts keep the weights, best first: an averaged (EMA) set beside the raw one is the better (timm).
MMEngine's `ema_state_dict` is not among them: it swaps the two when it saves."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "student.", "teacher.")
"""What DataParallel, torch.compile, Lightning and training frameworks put before every key."""

_LEFT_OUT = re.compile(r"(?i)(criterion|loss\w*|aux\w*|metrics?|teacher)\..+|n_averaged|(.+\.)?total_(ops|params)")
"""Of training alone: losses, auxiliary heads, a teacher beside the student, counters of profilers and averages."""

_DEEPEST = 3  # containers in containers: {"model": {"state_dict": …}}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint file, free of wrappers; `taken` says in words which set was taken from it.

    `arch` is the file's own name of its network, `classes` its class names in output order, and `layers` what a Caffe
    file says of its layers besides their weights, where it has them.
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
    """Open a checkpoint. `weights` names the container to take where a file holds several.

    Otherwise it is the first set, the best first, that `known` accepts as it is or without prefixes.
    Raises CheckpointError when the file cannot be read, holds objects other than tensors, or holds no weights.
    """
    content = openers.content(path, skip_objects)
    container, tensors, peeled = _chosen(content, weights, known, path.name)
    kept = {key: value for key, value in tensors.items() if not _LEFT_OUT.fullmatch(key)}
    if not kept:
        raise CheckpointError(f"'{path.name}' holds no weights, only what training needs: give another file.")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    taken = _told(container, peeled, sorted(tensors.keys() - kept.keys()))
    arch, classes = _arch(content), _classes(content, path.name)
    layers = content.get("layers", {}) if path.suffix == ".caffemodel" and isinstance(content, Mapping) else {}
    return Checkpoint(path.name, sha256, kept, taken, arch, classes, layers)


def _chosen(
    content: object, wanted: str | None, known: Callable[[Tensors], bool], file: str
) -> tuple[str, Tensors, str]:
    """The container, tensors and stripped prefix of the set to take."""
    sets = dict(_sets(content, "", _DEEPEST))
    if wanted is not None:
        if wanted not in sets:
            held = ", ".join(filter(None, sets)) or "one plain state dict"
            raise CheckpointError(f"'{file}' holds no weights under '{wanted}': it has {held}.")
        sets = {wanted: sets[wanted]}
    if not sets:
        keys = sorted(map(str, content))[:5] if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"'{file}' holds no weights (only {keys}): save a state_dict() and give that.")
    for container, tensors in sets.items():
        for candidate, peeled in _peeled(tensors):
            if known(candidate):
                return container, candidate, peeled
    container, tensors = next(iter(sets.items()))
    *_, (candidate, peeled) = _peeled(tensors)
    return container, candidate, peeled


def _sets(content: object, path: str, depth: int) -> Iterator[tuple[str, Tensors]]:
    """Every set of tensors with its path (`model.state_dict`, "" for the file itself), best first."""
    if not isinstance(content, Mapping) or depth < 0:
        return
    for key in CONTAINERS:
        if key in content:
            yield from _sets(content[key], f"{path}.{key}".lstrip("."), depth - 1)
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors


def _peeled(tensors: Tensors) -> Iterator[tuple[Tensors, str]]:
    """The tensors as they are, then with one prefix after another taken off."""
    stripped = ""
    yield tensors, stripped
    while prefix := next((prefix for prefix in PREFIXES if _is_wrapped(tensors, prefix)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        stripped += prefix
        yield tensors, stripped


def _is_wrapped(tensors: Tensors, prefix: str) -> bool:
    """Whether what is no loss and no counter all bears the prefix."""
    rest = [key for key in tensors if not key.startswith(prefix)]
    return len(rest) < len(tensors) and all(_LEFT_OUT.fullmatch(key) for key in rest)


def _told(container: str, peeled: str, left_out: list[str]) -> str:
    told = f"'{container}'" if container else "the whole file"
    if peeled:
        told += f", keys without '{peeled}'"
    if left_out:
        told += f", without {', '.join(left_out[:3])}" + (f" and {len(left_out) - 3} more" if left_out[3:] else "")
    return told


def _arch(content: object) -> str | None:
    arch = content.get("arch") if isinstance(content, Mapping) else None
    return arch if isinstance(arch, str) else None


def _classes(content: object, file: str) -> tuple[str, ...] | None:
    """By `class_to_idx`, as torchvision's ImageFolder numbers the folders."""
    numbered = content.get("class_to_idx") if isinstance(content, Mapping) else None
    if not isinstance(numbered, Mapping) or not numbered:
        return None
    by_index = {index: str(name) for name, index in numbered.items()}
    if sorted(by_index, key=str) != sorted(range(len(numbered)), key=str):
        raise CheckpointError(f"The class_to_idx in '{file}' does not count up from 0: give --labels FILE instead.")
    return tuple(by_index[index] for index in range(len(numbered)))
