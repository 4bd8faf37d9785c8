"""EvaluationTransform: how a network's training code prepares a photo for the network when it measures accuracy."""

from dataclasses import dataclass
from typing import Literal

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD: Triple = (0.229 * 255, 0.224 * 255, 0.225 * 255)
"""Mean and standard deviation of ImageNet's training pixels, RGB, 0..255. Nearly all PyTorch code uses them."""


@dataclass(frozen=True)
class EvaluationTransform:
    """Resize, centre crop and normalisation.

    `size` is the side of the square input in pixels. `resize_to` is the length in pixels to which the photo's shorter
    side (`short_side`) or both sides (`squash`) are resized before the crop. `mean` and `std` are RGB, 0..255, also for
    a network that takes its channels in the order blue, green, red (`bgr`).
    """

    size: int = 224
    resize_to: int = 256
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    resize: Literal["short_side", "squash"] = "short_side"
    bgr: bool = False
