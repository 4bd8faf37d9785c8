"""Pictures: files that are small, or quickly refused, and dear to whoever decodes them carelessly."""

import io
import struct
import zlib
from functools import cache

from PIL import Image

from tests.attacks.photos import made

FILE_BYTES = 20_000_000
"""Just below the largest image that the server takes."""

SIDE = 7000
"""49 million pixels, just below the most that it takes."""

_SOI = b"\xff\xd8"
_SOS = b"\xff\xda"
_EXIF = b"Exif\x00\x00"


def exif_segments() -> bytes:
    """A JPEG of a million APP1 segments, which Pillow joins one by one."""
    segment = b"\xff\xe1" + struct.pack(">H", 18) + _EXIF + b"0123456789"
    return _SOI + segment * (FILE_BYTES // len(segment)) + made(64, 64, 0)[2:]


def comments() -> bytes:
    """A JPEG of five million empty COM segments, each an object in Pillow."""
    segment = b"\xff\xfe\x00\x02"
    return _SOI + segment * (FILE_BYTES // len(segment)) + made(64, 64, 1)[2:]


def escapes_in_header() -> bytes:
    """A JPEG with ten million escaped FF before its first segment, which Pillow skips one by one."""
    return _SOI + b"\xff\x00" * (FILE_BYTES // 2) + made(64, 64, 2)[2:]


def escapes_in_pixels() -> bytes:
    """A JPEG of ten million escaped FF as pixels, and 200 words of its tail that look like scans."""
    photo = made(64, 64, 3)
    at = photo.index(_SOS)
    pixels = at + 2 + int.from_bytes(photo[at + 2 : at + 4])
    return photo[:pixels] + b"\xff\x00" * (FILE_BYTES // 2) + b"\xff\xd9" + _SOS * 200


def png_chunks() -> bytes:
    """A PNG of 1.6 million empty private chunks."""
    empty = _chunk(b"prVt", b"")
    return _png(64, 64, depth=8, colour=2, before=empty * (FILE_BYTES // len(empty)))


def exif_rationals() -> bytes:
    """A PNG whose orientation is 2.4 million RATIONALs instead of one SHORT."""
    count = FILE_BYTES // 8
    entry = struct.pack(">HHII", 0x0112, 5, count, 26)
    return _png(64, 64, depth=8, colour=2, before=_chunk(b"eXIf", _tiff(entry) + b"\x00\x00\x00\x01" * (2 * count)))


def exif_overlaps() -> bytes:
    """A PNG of 120 KB with 2000 EXIF entries of 60 KB, all of them the same bytes."""
    entries = b"".join(struct.pack(">HHII", 1000 + i, 7, 60_000, 0) for i in range(2000))
    return _png(64, 64, depth=8, colour=2, before=_chunk(b"eXIf", _tiff(entries) + bytes(100_000)))


def exif_warnings() -> bytes:
    """A PNG of 720 KB with 60 000 EXIF entries that are longer than it; Pillow warns of each."""
    entries = b"".join(struct.pack(">HHII", tag, 7, 1 << 21, 0) for tag in range(60_000))
    return _png(64, 64, depth=8, colour=2, before=_chunk(b"eXIf", _tiff(entries)))


@cache
def grey16() -> bytes:
    """A PNG of 7000 x 7000 in 16 bits of grey: 98 MB of rows in 95 KB."""
    return _png(SIDE, SIDE, depth=16, colour=0)


@cache
def grey_alpha() -> bytes:
    """A PNG of 7000 x 7000 in grey and alpha: 98 MB of rows in 95 KB."""
    return _png(SIDE, SIDE, depth=8, colour=4)


@cache
def scans() -> bytes:
    """A progressive JPEG of 7000 x 7000 with 90 scans, each a pass over all coefficients."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (90, 120, 30)).save(file, "JPEG", progressive=True, quality=50)
    photo = file.getvalue()
    last = photo.rindex(_SOS)
    return photo[:last] + photo[last:-2] * (91 - photo.count(_SOS)) + photo[-2:]


def _tiff(entries: bytes) -> bytes:
    """A TIFF header and one directory: 12 bytes of each entry, from byte 10 on, and 4 that end it."""
    return b"MM\x00*" + struct.pack(">IH", 8, len(entries) // 12) + entries + bytes(4)


def _png(width: int, height: int, depth: int, colour: int, before: bytes = b"") -> bytes:
    """A PNG of nothing but zeros, with chunks before its pixels."""
    samples = {0: 1, 2: 3, 4: 2}[colour]
    rows = bytes((1 + width * samples * depth // 8) * height)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = before + _chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + pixels + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
