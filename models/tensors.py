"""Tensors by name: the weights of a checkpoint, and the widths and counts that their shapes show."""

import re

from torch import Tensor

from models.errors import CheckpointError, TensorMissing

Tensors = dict[str, Tensor]


def tensor(tensors: Tensors, name: str) -> Tensor:
    """The tensor of that name. Raises TensorMissing where there is none."""
    if name not in tensors:
        raise TensorMissing(name)
    return tensors[name]


def width(tensors: Tensors, vector: str) -> int:
    """The number of channels, read from a vector (BatchNorm, bias) and not from a kernel.

    So a kernel of a wrong shape is reported by its own name.
    """
    return len(tensor(tensors, vector).flatten())


def kernel(tensors: Tensors, name: str) -> tuple[int, int, int, int]:
    """The shape (out, in / groups, height, width) of a convolution.

    Raises CheckpointError where the tensor does not have four dimensions, or is empty.
    """
    shape = tuple(tensor(tensors, name).shape)
    if len(shape) != 4 or not all(shape):
        raise CheckpointError(
            f"Tensor '{name}' has shape {shape} and not that of a convolution: give the checkpoint as it was trained."
        )
    return shape[0], shape[1], shape[2], shape[3]


def count(tensors: Tensors, parts: str) -> int:
    """The number of numbered parts: one more than the highest number that group 1 of the expression matches."""
    numbers = [int(found[1]) for key in tensors if (found := re.match(parts, key))]
    return max(numbers, default=-1) + 1
