"""Crops: random crops of the training photos, and the normalisation of all photos."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.evaluation import IMAGENET_MEAN, IMAGENET_STD

SMALLEST_AREA = 0.45
"""Of a random crop, as a share of the photo. Szegedy et al. (arXiv 1409.4842, section 6) use 8 %, but on photos of full
size. So small a crop of 64x64 pixels would often not show the object."""

LONGEST_RATIO = 4 / 3
"""Largest ratio of a crop's longer side to its shorter one; from the same section."""


def normalised(photos: Tensor) -> Tensor:  # (n, 3, h, w) float32 of 0..255
    """The network's input: each channel minus ImageNet's mean, divided by its standard deviation."""
    mean, std = (torch.tensor(values, device=photos.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((photos - mean) / std).contiguous(memory_format=torch.channels_last)


def random_crops(pixels: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """A random crop of each photo, resized; half of them mirrored: (n, h, w, 3) uint8 → (n, 3, size, size) float32.

    Resizing is linear and separable, so a crop is two matrix products: rows · photo · columnsᵀ. A mirrored crop reads
    its columns from right to left.
    """
    count, height, width, _ = pixels.shape
    area = rng.uniform(SMALLEST_AREA, 1, count)
    ratio = np.exp(rng.uniform(-math.log(LONGEST_RATIO), math.log(LONGEST_RATIO), count))
    tall, wide = np.minimum(1, np.sqrt(area / ratio)), np.minimum(1, np.sqrt(area * ratio))
    top, left = rng.uniform(0, 1 - tall), rng.uniform(0, 1 - wide)
    mirrored = rng.random(count) < 0.5
    left, wide = np.where(mirrored, left + wide, left), np.where(mirrored, -wide, wide)
    rows = _scaling(top * height, tall * height, height, size).to(pixels.device)
    columns = _scaling(left * width, wide * width, width, size).to(pixels.device)
    return rows @ pixels.permute(0, 3, 1, 2).float() @ columns.mT


def _scaling(start: NDArray[np.float64], extent: NDArray[np.float64], pixels: int, size: int) -> Tensor:
    """Weights (n, 1, size, pixels) that resize the ranges `start` … `start + extent`, in pixels, to `size` pixels.

    The triangle filter that Pillow calls bilinear: it spans a pixel of the larger size on each side, so no pixel is
    skipped.
    """
    step = extent / size
    centres = start[:, None] + (np.arange(size) + 0.5) * step[:, None]
    distance = np.abs(np.arange(pixels) + 0.5 - centres[:, :, None])
    weights = np.maximum(0, 1 - distance / np.maximum(1, np.abs(step))[:, None, None])
    weights /= weights.sum(-1, keepdims=True)
    return torch.from_numpy(weights.astype(np.float32)).unsqueeze(1)
