"""Samples: the images on which an exported graph is compared with the torch network."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from bundle import images
from bundle.errors import ImageError
from bundle.images import Pixels
from bundle.manifest import Preprocessing
from export.errors import ExportError

PROBE_IMAGES = 32
MOST_COMPARED = 256
_SEED = 20180619  # any fixed number: the same checkpoint gives the same bundle
_MAX_PIXELS = 89_478_485  # Pillow's own limit

T = TypeVar("T")


def generate(height: int, width: int) -> Pixels:
    """32 images made from a fixed seed: fine and coarse noise, gradients, edges. Equal for equal sizes."""
    random = np.random.default_rng(_SEED)
    makers = (_noise, _blobs, _gradient, _edges)
    return np.stack([makers[i % len(makers)](random, height, width) for i in range(PROBE_IMAGES)])


def load_photos(folder: Path, preprocessing: Preprocessing, most: int = MOST_COMPARED) -> Pixels:
    """The first photos under a folder in the order of their paths, prepared as the server does.

    Raises ExportError where there are fewer than 32, or one cannot be decoded.
    """
    found = find_photos(folder)
    if len(found) < PROBE_IMAGES:
        raise ExportError(f"'{folder}' holds {len(found)} photos, but at least {PROBE_IMAGES} are needed.")
    return np.stack([load_picture(path, preprocessing) for path in found[:most]])


def find_photos(folder: Path) -> list[Path]:
    """The paths of the photos under a folder, sorted. Raises ExportError where there is no such folder."""
    if not folder.is_dir():
        raise ExportError(f"There is no folder '{folder}': give a folder of photos.")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))


def load_picture(path: Path, preprocessing: Preprocessing) -> Pixels:
    """One photo (height, width, 3), prepared as the server does. Raises ExportError where it cannot be decoded."""
    try:
        return images.to_picture(path.read_bytes(), preprocessing, _MAX_PIXELS)
    except (ImageError, OSError) as error:
        raise ExportError(f"The photo '{path}' cannot be used: {error}") from error


def take_evenly(items: Sequence[T], most: int) -> list[T]:
    """At most that many items, at even distances over the whole sequence."""
    step = max(len(items) / most, 1)
    return [items[int(index * step)] for index in range(min(len(items), most))]


def _noise(random: np.random.Generator, height: int, width: int) -> Pixels:
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _blobs(random: np.random.Generator, height: int, width: int) -> Pixels:
    """Coarse noise, enlarged: large patches of one colour."""
    cells = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cells[np.arange(height) * 8 // height][:, np.arange(width) * 8 // width]


def _gradient(random: np.random.Generator, height: int, width: int) -> Pixels:
    ends = random.uniform(0, 255, (2, 2, 3))  # the colours of the four corners
    down = np.linspace(0, 1, height)[:, None, None]
    across = np.linspace(0, 1, width)[None, :, None]
    upper = ends[0, 0] * (1 - across) + ends[0, 1] * across
    lower = ends[1, 0] * (1 - across) + ends[1, 1] * across
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _edges(random: np.random.Generator, height: int, width: int) -> Pixels:
    """Rectangles on a plain background."""
    picture = np.full((height, width, 3), random.integers(0, 256, 3), dtype=np.uint8)
    for _ in range(6):
        top, bottom = np.sort(random.integers(0, height + 1, 2))
        left, right = np.sort(random.integers(0, width + 1, 2))
        picture[top:bottom, left:right] = random.integers(0, 256, 3)
    return picture
