"""Fit: what a network's training code does to a photo before the network sees it."""

from dataclasses import dataclass
from typing import Literal

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD: Triple = (0.229 * 255, 0.224 * 255, 0.225 * 255)
"""Of ImageNet's training pixels, RGB, 0..255: what nearly all torch training code normalises with."""


@dataclass(frozen=True)
class Fit:
    """`size`: the side of the square input in pixels. `resize_to`: the photo's shorter side, or both where squashed.

    `mean` and `std` are RGB on the scale 0..255, also of a network that takes its channels as blue, green, red (`bgr`).
    """

    size: int = 224
    resize_to: int = 256
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    resize: Literal["short_side", "squash"] = "short_side"
    bgr: bool = False
