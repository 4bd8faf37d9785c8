"""Tensors by name: what a checkpoint comes down to, and what can be told from it."""

import re

from torch import Tensor

from models.errors import CheckpointError, TensorMissing

Tensors = dict[str, Tensor]


def tensor(tensors: Tensors, name: str) -> Tensor:
    """The tensor of that name; TensorMissing where there is none."""
    if name not in tensors:
        raise TensorMissing(name)
    return tensors[name]


def width(tensors: Tensors, vector: str) -> int:
    """Channels by the length of a vector (BatchNorm, bias): a misshapen kernel then stands out by itself."""
    return len(tensor(tensors, vector).flatten())


def kernel(tensors: Tensors, name: str) -> tuple[int, int, int, int]:
    """The shape (out, in / groups, height, width) of a convolution; CheckpointError where it has another rank."""
    shape = tuple(tensor(tensors, name).shape)
    if len(shape) != 4 or not all(shape):
        raise CheckpointError(f"Tensor '{name}' has shape {shape}, which is no convolution's.")
    return shape[0], shape[1], shape[2], shape[3]


def count(tensors: Tensors, parts: str) -> int:
    """How many numbered parts there are: one more than the highest number that the expression's group 1 finds."""
    numbers = [int(found[1]) for key in tensors if (found := re.match(parts, key))]
    return max(numbers, default=-1) + 1
