"""Class maps: where in a photo a network found its evidence for a class.

Zhou et al., "Learning Deep Features for Discriminative Localization" (arXiv 1512.04150), equations 1 and 2. For a
network that ends in a mean over places and one linear layer the map is exact: its mean plus the class's bias is the
logit.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bundle.framing import framing, oriented
from bundle.headers.header import Header
from bundle.images import Picture
from bundle.manifest import Preprocessing
from explain.explanation import ClassMap, Region

_STRONGEST = 0.6  # opacity of the overlay at the map's largest value
_COLOUR = (255, 64, 0)


def class_map(features: NDArray[np.float32], weight: NDArray[np.float32], region: Region) -> ClassMap:
    """`features` (channels, rows, columns) weighted by the class's row of the linear layer (channels)."""
    weighted = np.einsum("c,chw->hw", weight, features)
    return ClassMap(tuple(map(tuple, weighted.tolist())), region)


def seen_region(header: Header, preprocessing: Preprocessing) -> Region:
    stored = header.width, header.height
    width, height = oriented(stored, header.orientation)
    left, top, right, bottom = framing(stored, header.orientation, preprocessing).source((width, height))
    return Region(left / width, top / height, (right - left) / width, (bottom - top) / height)


def overlay(photo: Picture, of: ClassMap) -> bytes:
    """A PNG of the upright photo with the map over it: the stronger a place speaks for the class, the redder it is.

    Places that speak against the class stay as they are.
    """
    height, width = photo.shape[:2]
    corner = round(of.region.left * width), round(of.region.top * height)
    size = max(1, round(of.region.width * width)), max(1, round(of.region.height * height))
    mask = Image.new("L", (width, height))
    mask.paste(_opacity(of).resize(size, Image.Resampling.BICUBIC), corner)
    shown = Image.composite(Image.new("RGB", (width, height), _COLOUR), Image.fromarray(photo), mask)
    file = io.BytesIO()
    shown.save(file, "PNG")
    return file.getvalue()


def _opacity(of: ClassMap) -> Image.Image:
    positive = np.maximum(np.array(of.values), 0)
    largest = float(positive.max())
    return Image.fromarray((positive * (255 * _STRONGEST / largest if largest else 0)).astype(np.uint8))
