"""Headers: what an image file states about its photo. They are read cheaply, before any decoder gets the file."""

from bundle.errors import BadImage, TooManyPixels, UnsupportedType
from bundle.headers.header import Header
from bundle.headers.jpeg import read_jpeg
from bundle.headers.png import read_png
from bundle.headers.webp import read_webp

_READERS = {"JPEG": read_jpeg, "PNG": read_png, "WEBP": read_webp}
_MAGICS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8", "BMP": b"BM", "PDF": b"%PDF"}
SIGNATURE_BYTES = 12
"""So many bytes from the beginning of a file tell its format."""

_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}

_BLOCK_PIXELS = 64
"""A JPEG codes blocks of 8 x 8 pixels with at least one bit each. If the file is too short for the size in its header,
the header is false, and a decoder would fill the rest with grey."""

_BYTES_A_PIXEL = 4  # memory that a decode may use for each of `max_pixels`; an RGB image uses as much in Pillow


def is_photo(beginning: bytes) -> bool:
    """Whether a file that begins so says that it is of an accepted format. `beginning`: `SIGNATURE_BYTES` or more."""
    return _kind(beginning) in _READERS


def read_header(encoded: bytes, max_pixels: int) -> Header:
    """The header of a JPEG, PNG or WebP.

    This takes about 20 µs for an ordinary photo and less than 100 ms for any 20 MB. It never holds Python's global lock
    for more than a few milliseconds, so other threads go on. The memory of a later `images.decode` beside the file is
    at most 4 * `max_pixels` bytes; 5 * `max_pixels` in exact decoding, or 8 * `max_pixels` for a JPEG of several scans.

    Raises ImageError.
    """
    kind = _kind(encoded)
    if kind not in _READERS:
        raise UnsupportedType(f"{kind or 'This'} is not an accepted image type: send JPEG, PNG or WebP.")
    header = _READERS[kind](encoded)
    _check_pixels(header, max_pixels)
    if kind == "JPEG" and 8 * len(encoded) * _BLOCK_PIXELS < header.pixels:
        raise BadImage("The JPEG is too short for the size in its header: send the whole file.")
    return header


def _check_pixels(header: Header, max_pixels: int) -> None:
    size = f"{header.width} x {header.height} pixels"
    if header.pixels > max_pixels:
        raise TooManyPixels(f"The image has {size} and {max_pixels} are allowed: send a smaller image.")
    if header.pixels * header.bytes_a_pixel > max_pixels * _BYTES_A_PIXEL:
        allowed = int(max_pixels * _BYTES_A_PIXEL / header.bytes_a_pixel)
        form = "WebP" if header.kind == "WEBP" else "progressive JPEG"
        raise TooManyPixels(
            f"The {form} has {size} and {allowed} are allowed, since it needs more memory than other images: "
            "send a smaller image, or save it as a baseline JPEG."
        )


def _kind(encoded: bytes) -> str | None:
    """The format by the first bytes, accepted or not. None where they are unknown."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WEBP"
    if encoded[4:8] == b"ftyp":
        return _BRANDS.get(encoded[8:12])
    found = next((name for name, magic in _MAGICS.items() if encoded.startswith(magic)), None)
    return "SVG" if found is None and b"<svg" in encoded[:1024] else found
