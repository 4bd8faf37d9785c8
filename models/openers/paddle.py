"""Paddle's `.pdparams`: a pickle of NumPy arrays, or of (name, array) pairs."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.errors import CheckpointError
from models.openers.inert import ForeignObject, Unpickler
from models.tensors import Tensors


def content(path: Path) -> Tensors:
    """The tensors by name. Raises CheckpointError when the file is damaged or holds anything but arrays."""
    try:
        with path.open("rb") as file:
            held = Unpickler(file, encoding="latin1").load()
    except ForeignObject as error:
        raise CheckpointError(
            f"'{path.name}' holds an object of {error}, and loading it could run code: "
            "if you trust the file, save layer.state_dict() again with paddle.save and convert that."
        ) from error
    except Exception as error:  # pickle and NumPy raise nearly anything for a damaged file
        raise CheckpointError(f"'{path.name}' is not a Paddle state dict, or is damaged: download it again.") from error
    if not isinstance(held, dict):
        raise CheckpointError(
            f"'{path.name}' holds a {type(held).__name__}, not a state dict: save layer.state_dict() with paddle.save."
        )
    return {str(key): tensor for key, value in held.items() if (tensor := _tensor(value)) is not None}


def _tensor(value: object) -> Tensor | None:
    if isinstance(value, tuple) and len(value) == 2:  # (name, array), as Paddle 2.0 wrote them
        value = value[1]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        return None
    return torch.from_numpy(np.array(value))
