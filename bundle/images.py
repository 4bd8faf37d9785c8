"""From the bytes of a photo to Pixels: what is accepted, and exactly how it becomes the network's input."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from bundle.errors import BadImage
from bundle.headers import read_header
from bundle.headers.header import Header, damaged
from bundle.manifest import Preprocessing
from bundle.strips import Box, Size, resized, resized_exactly, stored, turned_aside, upright

Pixels = NDArray[np.uint8]  # (n, height, width, 3), RGB
Picture = NDArray[np.uint8]  # (height, width, 3), RGB: one image of Pixels

MAX_ASPECT = 16
"""Longer photos are cut before they are resized: 30 000 x 1 would otherwise become 1 920 000 x 64 on the way."""

_FILES: dict[str, Any] = {"JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile}
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SPARE = 2  # times the resized size is what a JPEG is decoded to at least, where not exact


def to_picture(encoded: bytes, preprocessing: Preprocessing, max_pixels: int, exact: bool = True) -> Picture:
    """Decode a photo and bring it to the network's input: upright by its EXIF, RGB, first of a phone's two pictures.

    `exact`: equal to torchvision's PIL transform pixel for pixel. Otherwise a JPEG is decoded at a fraction of its
    size, twice what is needed or more, and only what the crop keeps is resized.

    Raises an ImageError that says the cure.
    """
    return decode(encoded, read_header(encoded, max_pixels), preprocessing, exact)


def decode(encoded: bytes, header: Header, preprocessing: Preprocessing, exact: bool = True) -> Picture:
    """`to_picture` for a file whose header is read.

    Beside the file, and a copy of it without metadata, it holds at most 4 bytes a pixel, 5 if `exact`; less of grey
    images, much less of a JPEG that is decoded at a fraction. `header.bytes_a_pixel` says what WebP takes instead, and
    a JPEG of several scans in addition. Pillow lets other threads run meanwhile.

    Raises BadImage.
    """
    image = _opened(encoded, header)
    try:
        return np.asarray(_fitted(image, header, preprocessing, exact).convert("RGB"))
    except Exception as error:  # Pillow's decoders raise what their parsers meet: OSError, SyntaxError, ValueError …
        raise BadImage(f"The {header.kind} is truncated or corrupt: send the whole file.") from error


def _opened(encoded: bytes, header: Header) -> Image.Image:
    """The image with its header read by Pillow too, and its pixels not yet."""
    needed = header.needed(encoded)
    try:
        image: ImageFile = _FILES[header.kind](io.BytesIO(needed))
    except Exception as error:  # as in decode
        raise damaged(header.kind) from error
    if header.kind == "JPEG":  # all of it in one step: in many, libjpeg leaves bytes that Pillow copies each time
        image.decodermaxblock = len(needed)
    if image.size != (header.width, header.height):  # the limits were checked for another size
        raise damaged(header.kind)
    return image


def _fitted(image: Image.Image, header: Header, preprocessing: Preprocessing, exact: bool) -> Image.Image:
    """Upright, resized and cropped; RGB or grey."""
    turn = header.orientation
    whole = _turned(image.size, turn)
    size, crop = _geometry(*whole, preprocessing)
    resampling: Any = _RESAMPLING[preprocessing.interpolation]
    kept = (crop[2] - crop[0], crop[3] - crop[1])
    if not exact:
        image.draft(None, _turned((_SPARE * size[0], _SPARE * size[1]), turn))  # a JPEG; others do nothing
        whole = _turned(image.size, turn)
        box = stored(_source(whole, size, crop), whole, turn)
        return upright(resized(image, _turned(kept, turn), box, resampling), turn)
    if max(whole) <= MAX_ASPECT * min(whole):
        return resized_exactly(image, turn, size, (0, 0, *whole), resampling).crop(crop)
    return resized_exactly(image, turn, kept, _source(whole, size, crop), resampling)


def _turned(size: Size, turn: int) -> Size:
    return size[::-1] if turned_aside(turn) else size


def _source(whole: Size, size: Size, crop: tuple[int, int, int, int]) -> Box:
    """Where a crop of the image at `size` lies in the image as large as `whole`."""
    across, down = whole[0] / size[0], whole[1] / size[1]
    right, bottom = min(float(whole[0]), crop[2] * across), min(float(whole[1]), crop[3] * down)  # a float may round up
    return (crop[0] * across, crop[1] * down, right, bottom)


def _geometry(width: int, height: int, wanted: Preprocessing) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The resized size and the crop in it, rounded as torchvision's `Resize` and `CenterCrop` round them."""
    if wanted.resize == "squash":
        size = (wanted.resize_to, wanted.resize_to)
    elif width <= height:
        size = (wanted.resize_to, int(wanted.resize_to * height / width))
    else:
        size = (int(wanted.resize_to * width / height), wanted.resize_to)
    left = round((size[0] - wanted.width) / 2)
    top = round((size[1] - wanted.height) / 2)
    return size, (left, top, left + wanted.width, top + wanted.height)


def sample_jpeg() -> bytes:
    """An ordinary photo as far as decoding it is concerned: 500 x 375 pixels, some detail, 4:2:0, quality 90."""
    blocks = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()
