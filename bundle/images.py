"""Images: decodes a photo and transforms it to Pixels, the input of a network."""

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
from bundle.headers.header import Header, damaged_header
from bundle.manifest import Preprocessing
from bundle.strips import Box, Size, resize, resize_exactly, stored_box, swaps_sides, turn_upright

Pixels = NDArray[np.uint8]  # (n, height, width, 3), RGB
Picture = NDArray[np.uint8]  # (height, width, 3), RGB: one image of Pixels

MAX_ASPECT = 16
"""Photos with a larger ratio of their sides are cropped before they are resized. Otherwise one of 30 000 x 1 would need
1 920 000 x 64 pixels on the way."""

_FILES: dict[str, Any] = {"JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile}
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_DRAFT_SCALE = 2  # in fast decoding, a JPEG is decoded to at least this many times the resized size


def to_picture(encoded: bytes, preprocessing: Preprocessing, max_pixels: int, exact: bool = True) -> Picture:
    """Decode a photo and transform it to the network's input: turned upright by its EXIF, RGB, resized, cropped.

    `exact`: each pixel equals that of torchvision's transforms on PIL images. Otherwise a JPEG is decoded at a fraction
    of its size, at least twice the resized size, and only the part inside the crop is resized. Of a file with two
    pictures, as from some phones, the first is taken.

    Raises ImageError.
    """
    return decode(encoded, read_header(encoded, max_pixels), preprocessing, exact)


def decode(encoded: bytes, header: Header, preprocessing: Preprocessing, exact: bool = True) -> Picture:
    """Does the work of `to_picture` for a file whose header has been read. Pillow releases Python's global lock.

    It needs memory for a copy of the file without metadata, and at most 4 bytes a pixel, 5 if `exact`; less for grey
    images, much less for a JPEG that is decoded at a fraction. A WebP needs `header.bytes_a_pixel` instead, and a JPEG
    of several scans needs them in addition.

    Raises BadImage.
    """
    image = _open(encoded, header)
    try:
        return np.asarray(_transform(image, header, preprocessing, exact).convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many kinds: OSError, SyntaxError, ValueError …
        raise BadImage(f"The {header.kind} is truncated or corrupt: send the whole file.") from error


def _open(encoded: bytes, header: Header) -> Image.Image:
    """The image opened by Pillow; its pixels are not decoded yet."""
    needed = header.needed_bytes(encoded)
    try:
        image: ImageFile = _FILES[header.kind](io.BytesIO(needed))
    except Exception as error:  # see `decode`
        raise damaged_header(header.kind) from error
    if header.kind == "JPEG":  # decode in one step: in many, libjpeg leaves bytes that Pillow copies each time
        image.decodermaxblock = len(needed)
    if image.size != (header.width, header.height):  # the limits were checked for a different size
        raise damaged_header(header.kind)
    return image


def _transform(image: Image.Image, header: Header, preprocessing: Preprocessing, exact: bool) -> Image.Image:
    """The image turned upright, resized and cropped; RGB or grey."""
    orientation = header.orientation
    whole = _oriented(image.size, orientation)
    size, crop = _geometry(*whole, preprocessing)
    resampling: Any = _RESAMPLING[preprocessing.interpolation]
    crop_size = (crop[2] - crop[0], crop[3] - crop[1])
    if not exact:
        least = (_DRAFT_SCALE * size[0], _DRAFT_SCALE * size[1])
        image.draft(None, _oriented(least, orientation))  # has an effect on JPEGs only
        whole = _oriented(image.size, orientation)
        box = stored_box(_source(whole, size, crop), whole, orientation)
        return turn_upright(resize(image, _oriented(crop_size, orientation), box, resampling), orientation)
    if max(whole) <= MAX_ASPECT * min(whole):
        return resize_exactly(image, orientation, size, (0, 0, *whole), resampling).crop(crop)
    return resize_exactly(image, orientation, crop_size, _source(whole, size, crop), resampling)


def _oriented(size: Size, orientation: int) -> Size:
    """From the size of the stored image to that of the upright one, or back."""
    return size[::-1] if swaps_sides(orientation) else size


def _source(whole: Size, size: Size, crop: tuple[int, int, int, int]) -> Box:
    """The box in an image of size `whole` that corresponds to a crop of the image resized to `size`."""
    across, down = whole[0] / size[0], whole[1] / size[1]
    right, bottom = min(float(whole[0]), crop[2] * across), min(float(whole[1]), crop[3] * down)  # a float may round up
    return (crop[0] * across, crop[1] * down, right, bottom)


def _geometry(width: int, height: int, wanted: Preprocessing) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The resized size and the crop in it, with the rounding of torchvision's `Resize` and `CenterCrop`."""
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
    """A photo whose decoding takes the usual time: 500 x 375 pixels, some detail, 4:2:0, quality 90."""
    blocks = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()
