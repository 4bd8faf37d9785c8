"""Format: how one family of training code names tensors, and what it does to photos before the network sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from models.checkpoint import Tensors

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
"""Of ImageNet's training pixels, RGB, 0..255: what nearly all torch training code normalises with."""


@dataclass(frozen=True)
class Format:
    """One reader: recognises tensors by their names, renames them to the canonical form, states the preprocessing.

    `size` and `resize_to` are pixels: the side of the network's square input, and of the photo's short side before
    the centre crop. `mean` and `std` are RGB on the scale 0..255.
    """

    name: str
    recognises: Callable[[Tensors], bool]
    canonical: Callable[[Tensors], Tensors]
    variant: Literal["A"]
    size: int
    resize_to: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
