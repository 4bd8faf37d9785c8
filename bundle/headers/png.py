"""PNG: its header, from its chunks."""

import struct
from collections.abc import Iterator

from bundle.errors import Animated, BadImage
from bundle.headers import exif
from bundle.headers.header import (
    LEAST_WORK,
    MAX_METADATA_BYTES,
    MAX_SEGMENTS,
    Header,
    Part,
    damaged_header,
    oversized_header,
)

_SIGNATURE_BYTES = 8
_IHDR_BYTES = 13
_AROUND_BYTES = 12  # length and name before a chunk's data, checksum after it
_DEPTH_AT = _SIGNATURE_BYTES + 16  # bits of a sample; the next byte is the colour type
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_NEEDED = (b"PLTE", b"tRNS")  # Pillow applies no profile and no gamma
_END = struct.pack(">I4sI", 0, b"IEND", 0xAE426082)
_HEAD = struct.Struct(">I4s")

MIN_PIXEL_CHUNK_BYTES = 1024
"""Smallest mean size where there are more than MAX_SEGMENTS such chunks. libpng writes 8 KiB. Pillow needs about 4 µs
for each chunk."""


def read_png(encoded: bytes) -> Header:
    """The header of a PNG. Raises BadImage or Animated."""
    width, height = _size(encoded)
    parts: list[Part] = [(0, _SIGNATURE_BYTES + _AROUND_BYTES + _IHDR_BYTES)]
    pixels: tuple[int, int] | None = None
    orientation = 0
    for name, start, stop in _chunks(encoded):
        if name == b"IDAT" and (pixels is None or start == pixels[1]):
            pixels = (pixels[0] if pixels else start, stop)
        elif name == b"eXIf" and not orientation:
            orientation = exif.orientation(encoded[start + 8 : min(stop - 4, start + MAX_METADATA_BYTES)])
        elif pixels is None and name in _NEEDED:
            parts.append((start, stop))
        elif pixels is None and name == b"acTL":
            _check_frames(encoded[start + 8 : stop - 4])
    if pixels is None:
        raise damaged_header("PNG")
    work = LEAST_WORK + 5.1e-6 * width * height * _sample_bytes(encoded) + 8e-6 * (pixels[1] - pixels[0])
    return Header("PNG", width, height, orientation or 1, work, (*parts, pixels, _END))


def _size(encoded: bytes) -> tuple[int, int]:
    try:
        length, name, width, height = struct.unpack_from(">I4sII5x", encoded, _SIGNATURE_BYTES)
    except struct.error as error:
        raise damaged_header("PNG") from error
    if (length, name) != (_IHDR_BYTES, b"IHDR") or not width or not height:
        raise damaged_header("PNG")
    return width, height


def _sample_bytes(encoded: bytes) -> float:
    """Bytes of an unpacked pixel."""
    depth, colour = encoded[_DEPTH_AT : _DEPTH_AT + 2]
    return max(1.0, depth / 8) * _CHANNELS.get(colour, 4)


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and stop of each chunk after the first one; the last may be truncated. Raises BadImage."""
    others = pixels = pixel_bytes = 0
    at = _SIGNATURE_BYTES + _AROUND_BYTES + _IHDR_BYTES
    while at + 8 <= len(encoded):
        length, name = _HEAD.unpack_from(encoded, at)
        start, at = at, at + _AROUND_BYTES + length
        if name == b"IDAT":
            pixels += 1
            pixel_bytes += length
            if pixels > MAX_SEGMENTS and pixel_bytes < pixels * MIN_PIXEL_CHUNK_BYTES:
                raise BadImage(
                    f"The PNG's pixels are in more than {MAX_SEGMENTS} chunks, of less than {MIN_PIXEL_CHUNK_BYTES} "
                    "bytes on average: save it again as an ordinary PNG."
                )
        else:
            others += 1
            if others > MAX_SEGMENTS or (not pixels and at > MAX_METADATA_BYTES):
                raise oversized_header("PNG")
        if name == b"IEND":
            return
        yield name, start, min(at, len(encoded))


def _check_frames(control: bytes) -> None:
    if len(control) >= 4 and int.from_bytes(control[:4]) > 1:
        raise Animated("The PNG is animated: send one frame.")
