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

from bundle import fast_jpeg
from bundle.errors import BadImage
from bundle.framing import Framing, framing, oriented
from bundle.headers import read_header
from bundle.headers.header import Header, damaged_header
from bundle.manifest import Interpolation, Preprocessing
from bundle.strips import resize, resize_exactly, turn_upright, turned_upright

Pixels = NDArray[np.uint8]  # (n, height, width, 3), RGB
Picture = NDArray[np.uint8]  # (height, width, 3), RGB: one image of Pixels

MAX_ASPECT = 16
"""Photos with a larger ratio of their sides are cropped before they are resized. Otherwise one of 30 000 x 1 would need
1 920 000 x 64 pixels on the way."""

_FILES: dict[str, Any] = {"JPEG": JpegImageFile, "PNG": PngImageFile, "WEBP": WebPImageFile}
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def to_picture(encoded: bytes, preprocessing: Preprocessing, max_pixels: int, exact: bool = True) -> Picture:
    """Decode a photo and transform it to the network's input: turned upright by its EXIF, RGB, resized, cropped.

    `exact`: each pixel equals that of torchvision's transforms on PIL images. Otherwise a JPEG is decoded at a fraction
    of its size, at least twice the resized size, and only the part inside the crop is resized. Of a file with two
    pictures, as from some phones, the first is taken.

    Raises ImageError.
    """
    return decode(encoded, read_header(encoded, max_pixels), preprocessing, exact)


def decode(encoded: bytes, header: Header, preprocessing: Preprocessing, exact: bool = True) -> Picture:
    """Does the work of `to_picture` for a file whose header has been read. Python's global lock is released meanwhile.

    It needs memory for a copy of the file without metadata, and at most 4 bytes a pixel, 5 if `exact`; less for grey
    images, much less for a JPEG that is decoded at a fraction. A WebP needs `header.bytes_a_pixel` instead, and a JPEG
    of several scans needs them in addition.

    Raises BadImage.
    """
    needed = header.needed_bytes(encoded)
    frame = framing((header.width, header.height), header.orientation, preprocessing)
    picture = None if exact else _by_simd(needed, header, frame, preprocessing.interpolation)
    if picture is None:
        picture = _by_pillow(needed, header, frame, preprocessing.interpolation, exact)
    return np.ascontiguousarray(picture)


def decode_whole(encoded: bytes, header: Header, longest: int) -> Picture:
    """The whole photo, upright and RGB; made smaller where its longer side has more than `longest` pixels.

    Raises BadImage.
    """
    width, height = oriented((header.width, header.height), header.orientation)
    scale = min(1.0, longest / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    frame = Framing(size, (0, 0, *size), header.orientation)
    return np.ascontiguousarray(_by_pillow(header.needed_bytes(encoded), header, frame, "bicubic", exact=False))


def _by_simd(needed: bytes, header: Header, frame: Framing, interpolation: Interpolation) -> Picture | None:
    """The picture, fast, from the parts of a file that a decoder needs; None where Pillow has to do it."""
    decoded = fast_jpeg.decode(needed, header, fast_jpeg.fraction((header.width, header.height), frame.least))
    if decoded is None:
        return None
    box = frame.stored_source((decoded.shape[1], decoded.shape[0]))
    resized = fast_jpeg.resize(decoded, oriented(frame.cropped, frame.orientation), box, interpolation)
    return turned_upright(resized, frame.orientation)


def _by_pillow(needed: bytes, header: Header, frame: Framing, interpolation: Interpolation, exact: bool) -> Picture:
    image = _open(needed, header)
    try:
        return np.asarray(_transform(image, frame, _RESAMPLING[interpolation], exact).convert("RGB"))
    except Exception as error:  # Pillow's decoders raise many kinds: OSError, SyntaxError, ValueError …
        raise BadImage(f"The {header.kind} is truncated or corrupt: send the whole file.") from error


def _open(needed: bytes, header: Header) -> Image.Image:
    """The image opened by Pillow; its pixels are not decoded yet."""
    try:
        image: ImageFile = _FILES[header.kind](io.BytesIO(needed))
    except Exception as error:  # see `_by_pillow`
        raise damaged_header(header.kind) from error
    if header.kind == "JPEG":  # decode in one step: in many, libjpeg leaves bytes that Pillow copies each time
        image.decodermaxblock = len(needed)
    if image.size != (header.width, header.height):  # the limits were checked for a different size
        raise damaged_header(header.kind)
    return image


def _transform(image: Image.Image, frame: Framing, resampling: Any, exact: bool) -> Image.Image:
    """The image turned upright, resized and cropped; RGB or grey."""
    orientation = frame.orientation
    if not exact:
        image.draft(None, frame.least)  # has an effect on JPEGs only
        box = frame.stored_source(image.size)
        return turn_upright(resize(image, oriented(frame.cropped, orientation), box, resampling), orientation)
    whole = oriented(image.size, orientation)
    if max(whole) <= MAX_ASPECT * min(whole):
        return resize_exactly(image, orientation, frame.size, (0, 0, *whole), resampling).crop(frame.crop)
    return resize_exactly(image, orientation, frame.cropped, frame.source(whole), resampling)


def sample_jpeg() -> bytes:
    """A photo whose decoding takes the usual time: 500 x 375 pixels, some detail, 4:2:0, quality 90."""
    blocks = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()
