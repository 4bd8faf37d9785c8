"""WebP: its header, from the chunks of its RIFF file."""

import struct
from collections.abc import Iterator

from bundle.errors import Animated
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

_FILE_HEAD_BYTES = 12
_FRAME_HEAD_BYTES = 16  # in an ANMF chunk, before the chunks of the frame
_PIXELS = (b"VP8 ", b"VP8L")
_NEEDED = (*_PIXELS, b"ALPH", b"ANIM", b"ANMF")
_METADATA_FLAGS = 0x20 | 0x08 | 0x04  # in a VP8X chunk: profile, EXIF, XMP

_BYTES_A_PIXEL = 16.0
"""Pillow decodes WebP as an animation: two canvases in libwebp, the frame and the image, each 4 bytes a pixel."""

_Chunk = tuple[bytes, int, int]  # name, start and stop of its data


def read_webp(encoded: bytes) -> Header:
    """The header of a WebP. Raises BadImage or Animated."""
    stop = 8 + int.from_bytes(encoded[4:8], "little")
    if stop > len(encoded):
        raise damaged_header("WEBP")
    chunks = list(_chunks(encoded, _FILE_HEAD_BYTES, stop))
    if not chunks:
        raise damaged_header("WEBP")
    if chunks[0][0] != b"VP8X":
        width, height = _frame_size(encoded, chunks[0])
        return _header(encoded, chunks[:1], chunks[0], (width, height), 1)
    return _extended(encoded, chunks)


def _extended(encoded: bytes, chunks: list[_Chunk]) -> Header:
    """The header of a file with a canvas (VP8X), which may have one frame."""
    width, height = _canvas_size(encoded, chunks[0])
    frames = [chunk for chunk in chunks if chunk[0] == b"ANMF"]
    if len(frames) > 1:
        raise Animated("The WEBP is animated: send one frame.")
    inside = list(_chunks(encoded, frames[0][1] + _FRAME_HEAD_BYTES, frames[0][2])) if frames else chunks
    pixels = [chunk for chunk in inside if chunk[0] in _PIXELS]
    if len(pixels) != 1:
        raise damaged_header("WEBP")
    across, down = _frame_size(encoded, pixels[0])
    if across > width or down > height:
        raise damaged_header("WEBP")
    blocks = (encoded[begin : min(end, begin + MAX_METADATA_BYTES)] for name, begin, end in chunks if name == b"EXIF")
    turn = exif.orientation(next(blocks, b""))
    needed = [chunk for chunk in chunks if chunk[0] in _NEEDED]
    return _header(encoded, [chunks[0], *needed], pixels[0], (width, height), turn)


def _header(encoded: bytes, needed: list[_Chunk], pixels: _Chunk, size: tuple[int, int], turn: int) -> Header:
    coded_bytes = sum(end - begin for _, begin, end in needed)  # with those of the alpha channel
    work = LEAST_WORK + 13e-6 * size[0] * size[1] + (96e-6 if pixels[0] == b"VP8 " else 19e-6) * coded_bytes
    return Header("WEBP", *size, turn, work, _parts(encoded, needed), bytes_a_pixel=_BYTES_A_PIXEL)


def _chunks(encoded: bytes, at: int, end: int) -> Iterator[_Chunk]:
    """Each chunk of encoded[at:end]. Raises BadImage."""
    count, before, pixels = 0, at, False
    while at + 8 <= end:
        name, length = encoded[at : at + 4], int.from_bytes(encoded[at + 4 : at + 8], "little")
        begin, at = at + 8, at + 8 + length
        pixels = pixels or name in _PIXELS or name == b"ANMF"
        count += 1
        if count > MAX_SEGMENTS or (not pixels and name != b"ALPH" and at - before > MAX_METADATA_BYTES):
            raise oversized_header("WEBP")
        if at > end:
            raise damaged_header("WEBP")
        yield name, begin, at
        at += length % 2


def _canvas_size(encoded: bytes, chunk: _Chunk) -> tuple[int, int]:
    data = encoded[chunk[1] : chunk[2]]
    if len(data) < 10:
        raise damaged_header("WEBP")
    return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")


def _frame_size(encoded: bytes, chunk: _Chunk) -> tuple[int, int]:
    """Width and height as the coded pixels state them. A decoder allocates memory for this size."""
    data = encoded[chunk[1] : min(chunk[2], chunk[1] + 10)]
    if chunk[0] == b"VP8 " and len(data) == 10 and data[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    elif chunk[0] == b"VP8L" and len(data) >= 5 and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        raise damaged_header("WEBP")
    if not width or not height:
        raise damaged_header("WEBP")
    return width, height


def _parts(encoded: bytes, chunks: list[_Chunk]) -> tuple[Part, ...]:
    """The parts of a file with these chunks only. The flags for metadata in its canvas chunk are cleared."""
    parts: list[Part] = []
    size = 4
    for name, begin, end in chunks:
        size += 8 + end - begin + (end - begin) % 2
        if name == b"VP8X":
            flags = bytes((encoded[begin] & ~_METADATA_FLAGS,))
            parts += [(begin - 8, begin), flags, (begin + 1, end)]
        else:
            parts.append((begin - 8, end))
        parts += [b"\0"] * ((end - begin) % 2)
    if 8 + size == len(encoded) and chunks[0][0] != b"VP8X":
        return ()
    return (struct.pack("<4sI4s", b"RIFF", size, b"WEBP"), *parts)
