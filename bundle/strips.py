"""Strips: resizes a large image a few rows at a time, so that memory never holds a second image of its size.

Each strip is laid over white, converted to 8 bits, turned upright and resized. `orientation` is that of EXIF, 1 to 8.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom

STRIP_PIXELS = 1 << 18
_REACH = 3  # rows or columns on each side that a resized one depends on, times the scale: 2 for bicubic, and 1 to spare
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def swaps_sides(orientation: int) -> bool:
    """Whether turning an image of that orientation upright exchanges its width and height."""
    return orientation >= 5


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned upright."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def turned_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The (height, width, channels) pixels turned upright, as a view."""
    if swaps_sides(orientation):
        pixels = pixels.transpose(1, 0, 2)
    across, down = _mirrored(orientation)
    return pixels[:: -1 if down else 1, :: -1 if across else 1]


def _mirrored(orientation: int) -> tuple[bool, bool]:
    """Whether turning upright exchanges left with right, and top with bottom, after sides were exchanged."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)


def stored_box(box: Box, whole: Size, orientation: int) -> Box:
    """The box in the stored image that corresponds to `box` in the upright image of size `whole`."""
    left, top, right, bottom = box
    width, height = whole
    across, down = _mirrored(orientation)
    if across:
        left, right = width - right, width - left
    if down:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if swaps_sides(orientation) else (left, top, right, bottom)


def resize(image: Image.Image, size: Size, box: Box, resampling: Any) -> Image.Image:
    """The part `box` of the stored image, resized to `size`: RGB or grey.

    It needs memory for a strip and for `size`. Each strip is resized in width first, then all in height. Where Pillow
    uses the other order, a value may differ by rounding.
    """
    if _is_plain(image):
        return image.resize(size, resampling, box)
    image.load()
    if _is_small(image):
        return _to_8_bit_image(image).resize(size, resampling, box)
    rows = needed(image.height, size[1], box[1], box[3])
    narrow: Image.Image | None = None
    for top, strip in _strips(image, 1, rows):
        part = strip.resize((size[0], strip.height), resampling, (box[0], 0, box[2], strip.height))
        narrow = narrow or Image.new(part.mode, (size[0], len(rows)))
        narrow.paste(part, (0, top - rows.start))
    assert narrow is not None  # a box has rows
    return narrow.resize(size, resampling, (0, box[1] - rows.start, size[0], box[3] - rows.start))


def resize_exactly(image: Image.Image, orientation: int, size: Size, box: Box, resampling: Any) -> Image.Image:
    """The part `box` of the upright image, resized to `size`: RGB or grey, bit for bit as Pillow resizes it whole.

    A large image is resized channel by channel, which needs one byte a pixel in addition. Pillow resizes in two passes,
    rounds between them, and chooses their order by the sizes, so it gets a whole channel.
    """
    if orientation == 1 and _is_plain(image):
        return image.resize(size, resampling, box)
    image.load()
    if _is_small(image):
        return turn_upright(_to_8_bit_image(image), orientation).resize(size, resampling, box)
    mode = _to_8_bit_image(image.crop((0, 0, 1, 1))).mode
    channels = (_channel(image, orientation, name).resize(size, resampling, box) for name in mode)
    return Image.merge(mode, tuple(channels))


def _is_plain(image: Image.Image) -> bool:
    return image.mode in ("RGB", "L") and "transparency" not in image.info


def _is_small(image: Image.Image) -> bool:
    return image.width * image.height <= STRIP_PIXELS


def needed(length: int, wanted: int, start: float, stop: float) -> range:
    """The rows, or columns, of an image with `length` of them on which `wanted` depend, resized from start to stop."""
    reach = _REACH * max(1.0, (stop - start) / wanted)
    return range(max(0, math.floor(start - reach)), min(length, math.ceil(stop + reach)))


def _channel(image: Image.Image, orientation: int, name: str) -> Image.Image:
    """One channel of the whole upright image, one byte a pixel."""
    whole = Image.new("L", image.size[::-1] if swaps_sides(orientation) else image.size)
    for top, strip in _strips(image, orientation, range(whole.height)):
        whole.paste(strip.getchannel(name), (0, top))
    return whole


def _strips(image: Image.Image, orientation: int, rows: range) -> Iterator[tuple[int, Image.Image]]:
    """Each strip of the upright image, RGB or grey, with the number of its first row."""
    whole = image.size[::-1] if swaps_sides(orientation) else image.size
    step = max(1, STRIP_PIXELS // whole[0])
    for top in range(rows.start, rows.stop, step):
        box = stored_box((0, top, whole[0], min(top + step, rows.stop)), whole, orientation)
        strip = image.crop((int(box[0]), int(box[1]), int(box[2]), int(box[3])))
        yield top, turn_upright(_to_8_bit_image(strip), orientation)


def _to_8_bit_image(image: Image.Image) -> Image.Image:
    """The image laid over white, with 8 bits a channel: RGB or grey."""
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion cuts values off at 255
        return Image.fromarray(to_8_bits(np.asarray(image)))
    if "transparency" in image.info and "A" not in image.mode:
        image = image.convert("RGBA")
    if "A" in image.mode:
        white = Image.new("L" if image.mode == "LA" else "RGB", image.size, "white")
        white.paste(image.getchannel("L") if image.mode == "LA" else image, mask=image.getchannel("A"))
        return white
    if image.mode in ("RGB", "L"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_8_bits(sixteen: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """16-bit values divided by 257 and rounded.

    Done in integers: the same result for every value as in floats, in a third of the memory.
    """
    return ((sixteen.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
