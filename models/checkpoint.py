"""Checkpoint: a file somebody trained, opened without running any code from it."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.errors import CheckpointError

Tensors = dict[str, Tensor]

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
)
"""Where training scripts keep the weights, best first: an EMA set beside the raw one is the better (timm)."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What DataParallel, torch.compile and training frameworks put before every key."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint file, free of wrappers; `taken` says in words which set was taken from it."""

    file: str
    sha256: str
    tensors: Tensors
    taken: str


def read(path: Path, weights: str | None = None) -> Checkpoint:
    """Open a checkpoint. `weights` names the container to take where a file holds several.

    Raises CheckpointError when the file cannot be read, holds objects other than tensors, or holds no weights.
    """
    content = _load(path)
    tensors, container = _weights(content, weights, path.name)
    tensors, prefix = _without_prefixes(tensors)
    if not tensors:
        raise CheckpointError(f"'{path.name}' holds no weights, only a training script's counters: give another file.")
    taken = f"'{container}'" if container else "the whole file"
    if prefix:
        taken += f", keys without '{prefix}'"
    with path.open("rb") as file:
        return Checkpoint(path.name, hashlib.file_digest(file, "sha256").hexdigest(), tensors, taken)


def _load(path: Path) -> object:
    if not path.is_file():
        raise CheckpointError(f"There is no file '{path}': give the path of a checkpoint (.pth, .pt, .tar).")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path.name}' is not a checkpoint of plain tensors, and opening it could run code: "
            "where you trust it, save its state_dict() again with torch.save and convert that."
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError … for files cut short or of another kind
        raise CheckpointError(
            f"'{path.name}' cannot be read as a PyTorch checkpoint: it is damaged, incomplete or of another kind; "
            "fetch or save it again."
        ) from error


def _is_weights(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())


def _weights(content: object, wanted: str | None, file: str) -> tuple[Tensors, str | None]:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"'{file}' holds a {type(content).__name__}, not weights: save a state_dict() instead.")
    held = [key for key in content if _is_weights(content[key])]
    if wanted is not None and wanted not in held:
        raise CheckpointError(f"'{file}' holds no weights under '{wanted}': it has {held or 'one plain state dict'}.")
    container = wanted if wanted is not None else next((key for key in CONTAINERS if key in held), None)
    if container is None and not _is_weights(content):
        raise CheckpointError(f"'{file}' holds no weights: its keys are {sorted(map(str, content))[:5]}.")
    source = content if container is None else content[container]
    return {str(key): value for key, value in source.items() if isinstance(value, Tensor)}, container


def _without_prefixes(tensors: Tensors) -> tuple[Tensors, str]:
    tensors = {key: value for key, value in tensors.items() if key != "n_averaged"}  # torch's AveragedModel counter
    stripped = ""
    while tensors and (prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in tensors)), None)):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        stripped += prefix
    return tensors, stripped
