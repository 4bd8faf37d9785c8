"""Fast JPEG: decodes an ordinary JPEG straight into an array and resizes it with SIMD. Pillow does all it leaves.

libjpeg-turbo (simplejpeg) and fast_image_resize (cykooz-resizer) have no wheels for some machines. `AVAILABLE` says
whether both are here.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.headers.header import Header
from bundle.manifest import Interpolation
from bundle.strips import STRIP_PIXELS, Box, Size, needed

try:
    import simplejpeg
    from cykooz_resizer import CropBox, FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True

PACKAGES = ("simplejpeg", "cykooz-resizer")

Decoded = NDArray[np.uint8]  # (height, width, 3), RGB

_MOST_WORK = 64.0
"""A JPEG that costs more is left to Pillow at once. A damaged one is decoded twice, and this bounds what that adds."""

_KEPT_BYTES = 4 << 20
"""Each thread keeps a buffer of this size for decoded photos. Fresh memory, which the system has to clear page by page,
took as long as a third of the decoding. A larger photo gets fresh memory."""

_FRACTIONS = (8, 4, 2, 1)
_of_thread = threading.local()


def fraction(stored: Size, least: Size) -> int:
    """The largest of 8, 4, 2 and 1 by which both sides can be divided and remain at least `least`. As Pillow's draft
    mode chooses.
    """
    most = min(stored[0] // least[0], stored[1] // least[1])
    return next((each for each in _FRACTIONS if each <= most), 1)


def decode(needed: bytes, header: Header, divisor: int) -> Decoded | None:
    """The stored photo with its sides divided by `divisor` (1, 2, 4 or 8) and rounded up: what Pillow decodes too.

    `needed`: of the file, as `header.needed_bytes` has them. The photo is valid until the same thread decodes again.
    None where Pillow has to do it: for all but ordinary JPEGs, and for those that libjpeg-turbo warns of or refuses.
    Pillow overlooks some warnings, and words the errors. The global lock is released while it decodes.
    """
    if not (AVAILABLE and header.ordinary and header.work <= _MOST_WORK):
        return None
    height, width = -(-header.height // divisor), -(-header.width // divisor)
    # Without these, no fraction is looked for. The smallest fraction that is at least so large is taken
    least = {"min_height": height, "min_width": width, "min_factor": divisor} if divisor > 1 else {}
    buffer = _buffer() if 3 * height * width <= _KEPT_BYTES else None
    try:
        decoded: Decoded = simplejpeg.decode_jpeg(needed, "RGB", buffer=buffer, strict=True, **least)
    except Exception:  # ValueError for the file; whatever else there is, Pillow tries
        return None
    return decoded if decoded.shape == (height, width, 3) else None


def _buffer() -> Decoded:
    """This thread's. Memory that was never written takes no room."""
    if not hasattr(_of_thread, "buffer"):
        _of_thread.buffer = np.empty(_KEPT_BYTES, np.uint8)
    buffer: Decoded = _of_thread.buffer
    return buffer


def resize(decoded: Decoded, size: Size, box: Box, interpolation: Interpolation) -> Decoded:
    """The part `box` of a decoded photo, resized to `size`, as `strips.resize` does it: in width first, then in height.

    Fewer than one value in a hundred differs from Pillow's, by 1 or 2, where Pillow takes that order too; else one in
    seven. It needs memory for two copies of a strip and for the rows that are resized in width.
    """
    width, height = size
    rows, columns = needed(decoded.shape[0], height, box[1], box[3]), needed(decoded.shape[1], width, box[0], box[2])
    left, right, top, bottom = box[0] - columns.start, box[2] - columns.start, box[1] - rows.start, box[3] - rows.start
    part = decoded[rows.start : rows.stop, columns.start : columns.stop]
    step = max(1, STRIP_PIXELS // len(columns))
    strips = (part[at : at + step] for at in range(0, len(rows), step))
    narrow = [_resized(_image(each), width, len(each), (left, 0, right, len(each)), interpolation) for each in strips]
    if len(narrow) > 1:
        joined = b"".join(each.get_buffer() for each in narrow)
        narrow = [ImageData(width, len(rows), PixelType.U8x3, joined)]
    resized = _resized(narrow[0], width, height, (0, top, width, bottom), interpolation)
    return np.frombuffer(resized.get_buffer(), np.uint8).reshape(height, width, 3)


def instructions() -> str:
    """The SIMD instructions with which this machine resizes."""
    return str(Resizer().cpu_extensions.name)


def _image(pixels: Decoded) -> Any:
    """A copy that the resizer can read."""
    return ImageData(pixels.shape[1], pixels.shape[0], PixelType.U8x3, pixels.tobytes())


def _resized(image: Any, width: int, height: int, box: Box, interpolation: str) -> Any:
    """The global lock is released while it resizes."""
    target = ImageData(width, height, PixelType.U8x3)
    across, down = min(box[2] - box[0], image.width - box[0]), min(box[3] - box[1], image.height - box[1])
    # With a = -0.5, as Pillow's bicubic filter has it, the cubic is Catmull and Rom's
    algorithm = ResizeAlg.convolution(FilterType.catmull_rom if interpolation == "bicubic" else FilterType.bilinear)
    options = ResizeOptions(algorithm, use_alpha=False, crop_box=CropBox(box[0], box[1], across, down))
    Resizer().resize(image, target, options)
    return target
