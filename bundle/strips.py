"""Strips: a large image is laid over white, made 8 bits deep, turned and narrowed a few rows at a time.

So no second image of its size is ever held.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom

_STRIP_PIXELS = 1 << 18
_REACH = 3  # rows that a resized one depends on to each side, in units of the scale: 2 for bicubic, and one to spare
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turned_aside(turn: int) -> bool:
    """Whether an EXIF orientation exchanges width and height."""
    return turn >= 5


def upright(image: Image.Image, turn: int) -> Image.Image:
    """A whole image, brought upright."""
    return image.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else image


def stored(box: Box, whole: Size, turn: int) -> Box:
    """Where a box of the upright image, which is as large as `whole`, lies in the stored one."""
    left, top, right, bottom = box
    width, height = whole
    if turn in (2, 3, 6, 7):
        left, right = width - right, width - left
    if turn in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if turned_aside(turn) else (left, top, right, bottom)


def resized(image: Image.Image, size: Size, box: Box, resampling: Any) -> Image.Image:
    """The part `box` of the stored image at `size`, RGB or grey.

    In the memory of a strip and of `size`. Rows are narrowed first, then columns; where Pillow would take the other
    order, a value may differ by rounding.
    """
    if _ready(image):
        return image.resize(size, resampling, box)
    image.load()
    if _small(image):
        return _shown(image).resize(size, resampling, box)
    rows = _rows(image.height, size[1], box)
    narrow: Image.Image | None = None
    for top, strip in _strips(image, 1, rows):
        part = strip.resize((size[0], strip.height), resampling, (box[0], 0, box[2], strip.height))
        narrow = narrow or Image.new(part.mode, (size[0], len(rows)))
        narrow.paste(part, (0, top - rows.start))
    assert narrow is not None  # a box has rows
    return narrow.resize(size, resampling, (0, box[1] - rows.start, size[0], box[3] - rows.start))


def resized_exactly(image: Image.Image, turn: int, size: Size, box: Box, resampling: Any) -> Image.Image:
    """The part `box` of the upright image at `size`, RGB or grey: what Pillow makes of the whole image, to the bit.

    A large image is resized channel by channel, so that one byte a pixel is held beside it. Pillow's order of the two
    passes, between which it rounds, depends on the sizes: it is left to Pillow.
    """
    if turn == 1 and _ready(image):
        return image.resize(size, resampling, box)
    image.load()
    if _small(image):
        return upright(_shown(image), turn).resize(size, resampling, box)
    mode = _shown(image.crop((0, 0, 1, 1))).mode
    channels = (_channel(image, turn, name).resize(size, resampling, box) for name in mode)
    return Image.merge(mode, tuple(channels))


def _ready(image: Image.Image) -> bool:
    return image.mode in ("RGB", "L") and "transparency" not in image.info


def _small(image: Image.Image) -> bool:
    return image.width * image.height <= _STRIP_PIXELS


def _rows(height: int, wanted: int, box: Box) -> range:
    """The rows that what is wanted of the box depends on."""
    reach = _REACH * max(1.0, (box[3] - box[1]) / wanted)
    return range(max(0, math.floor(box[1] - reach)), min(height, math.ceil(box[3] + reach)))


def _channel(image: Image.Image, turn: int, name: str) -> Image.Image:
    """A channel of the whole upright image, one byte a pixel."""
    whole = Image.new("L", image.size[::-1] if turned_aside(turn) else image.size)
    for top, strip in _strips(image, turn, range(whole.height)):
        whole.paste(strip.getchannel(name), (0, top))
    return whole


def _strips(image: Image.Image, turn: int, rows: range) -> Iterator[tuple[int, Image.Image]]:
    """The first row of each strip of the upright image, and the strip, RGB or grey."""
    whole = image.size[::-1] if turned_aside(turn) else image.size
    step = max(1, _STRIP_PIXELS // whole[0])
    for top in range(rows.start, rows.stop, step):
        box = stored((0, top, whole[0], min(top + step, rows.stop)), whole, turn)
        strip = image.crop((int(box[0]), int(box[1]), int(box[2]), int(box[3])))
        yield top, upright(_shown(strip), turn)


def _shown(image: Image.Image) -> Image.Image:
    """As a person sees it, in 8 bits a channel: RGB, or grey."""
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion cuts off at 255
        return Image.fromarray(eight_bits(np.asarray(image)))
    if "transparency" in image.info and "A" not in image.mode:
        image = image.convert("RGBA")
    if "A" in image.mode:
        white = Image.new("L" if image.mode == "LA" else "RGB", image.size, "white")
        white.paste(image.getchannel("L") if image.mode == "LA" else image, mask=image.getchannel("A"))
        return white
    if image.mode in ("RGB", "L"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def eight_bits(sixteen: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Divided by 257 and rounded, in integers: the same for every value, in a third of the memory."""
    return ((sixteen.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
