"""Headers: what a file says about its photo, read in one cheap walk over its structure before any decoder sees it."""

from bundle.errors import BadImage, TooManyPixels, UnsupportedType
from bundle.headers.header import Header
from bundle.headers.jpeg import read_jpeg
from bundle.headers.png import read_png
from bundle.headers.webp import read_webp

_READERS = {"JPEG": read_jpeg, "PNG": read_png, "WEBP": read_webp}
_MAGICS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8", "BMP": b"BM", "PDF": b"%PDF"}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}

_BLOCK_PIXELS = 64
"""A JPEG codes blocks of 8 x 8 and spends at least one bit on each: a header that promises more than its file can hold
lies, and would have the decoder fill the rest with grey."""

_BYTES_A_PIXEL = 4  # what one decode may take for each of `max_pixels`; an RGB image takes as much in Pillow


def read_header(encoded: bytes, max_pixels: int) -> Header:
    """The header of a JPEG, PNG or WebP.

    It takes some 20 µs for an ordinary photo and less than 100 ms for any 20 MB, and never stops other threads for more
    than a few milliseconds. What `images.decode` then holds beside the file is bounded by 4 * `max_pixels` bytes, by
    5 * `max_pixels` if decoded exactly, and by 8 * `max_pixels` for a JPEG of several scans if decoded exactly.

    Raises an ImageError that says the cure.
    """
    kind = _kind(encoded)
    if kind not in _READERS:
        raise UnsupportedType(f"{kind or 'This'} is not an accepted image type: send JPEG, PNG or WebP.")
    header = _READERS[kind](encoded)
    _limit(header, max_pixels)
    if kind == "JPEG" and 8 * len(encoded) * _BLOCK_PIXELS < header.pixels:
        raise BadImage("The JPEG is shorter than its header says it must be: send the whole file.")
    return header


def _limit(header: Header, max_pixels: int) -> None:
    size = f"{header.width} x {header.height} pixels"
    if header.pixels > max_pixels:
        raise TooManyPixels(f"The image has {size} and {max_pixels} are allowed: send a smaller one.")
    if header.pixels * header.bytes_a_pixel > max_pixels * _BYTES_A_PIXEL:
        allowed = int(max_pixels * _BYTES_A_PIXEL / header.bytes_a_pixel)
        form = "WebP" if header.kind == "WEBP" else "progressive JPEG"
        raise TooManyPixels(
            f"The {form} has {size} and {allowed} are allowed, since it needs more memory than other images: "
            "send a smaller one, or save it as a baseline JPEG."
        )


def _kind(encoded: bytes) -> str | None:
    """The format by its first bytes, accepted or not; None where they are unknown."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WEBP"
    if encoded[4:8] == b"ftyp":
        return _BRANDS.get(encoded[8:12])
    found = next((name for name, magic in _MAGICS.items() if encoded.startswith(magic)), None)
    return "SVG" if found is None and b"<svg" in encoded[:1024] else found
