"""JPEG: its header, from the segments before the first scan and the number of scans."""

import re
from collections.abc import Iterator

from bundle.headers import exif
from bundle.headers.header import (
    MAX_METADATA_BYTES,
    MAX_SEGMENTS,
    Header,
    Part,
    damaged_header,
    oversized_header,
)
from bundle.headers.scans import scans

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # start of frame, of any coding
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_ORDINARY = (0xC0, 0xC1, 0xC2)
"""Baseline, its extension, and progressive, all by Huffman's method. Lossless frames must never be among them: before
3.1.4, libjpeg-turbo wrote them in full where a fraction of their size was asked for."""

_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and restarts: segments without a length
_SCAN, _ADOBE, _EXIF = 0xDA, 0xEE, 0xE1
_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn and comments
_NEEDED = {0xE0: b"JFIF\0", _ADOBE: b"Adobe"}  # they state the colour space
_LEAST_NEEDED_BYTES = 11  # of such a segment with its marker: libjpeg-turbo overlooks a shorter one, Pillow refuses it
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MAX_GAP_BYTES = 1 << 16  # between segments; fill bytes are allowed there, and some files have a few

_MAX_NEEDED_BYTES = 1 << 17
"""Of a file's header without metadata. All tables that a JPEG can have are below 4 KB, a JFIF thumbnail below 64 KB."""


def read_jpeg(encoded: bytes) -> Header:
    """The header of a JPEG; of the first picture where the file holds two, as from some phones. Raises BadImage."""
    frame, orientation, first_scan, short = b"", 0, 0, False
    needed: list[tuple[int, int]] = [(0, 2)]
    for marker, start, stop in _segments(encoded):
        if marker in _METADATA and not encoded.startswith(_NEEDED.get(marker, b"\xff"), start + 4):
            if marker == _EXIF and not orientation and encoded.startswith(b"Exif\0\0", start + 4):
                orientation = exif.orientation(encoded[start + 4 : stop])
            continue
        short |= marker in _METADATA and stop - start < _LEAST_NEEDED_BYTES
        if marker in _FRAMES:
            if frame:
                raise damaged_header("JPEG")
            frame = encoded[start:stop]
        if needed[-1][1] == start:
            needed[-1] = needed[-1][0], stop
        else:
            needed.append((start, stop))
        first_scan = start
    width, height = _size(frame)
    buffered = _buffered(frame, int.from_bytes(encoded[first_scan + 4 : first_scan + 5]))
    count = scans(encoded, first_scan)
    ordinary = frame[1] in _ORDINARY and frame[9] in (1, 3) and not short
    work = _work(width * height, count, len(encoded) - first_scan) * (1 if ordinary else 2)
    parts = _parts(needed, len(encoded))
    return Header("JPEG", width, height, orientation or 1, work, parts, count, buffered, ordinary)


def _segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and stop of each segment, up to and including the first start of a scan. Raises BadImage."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(encoded, at, at + _MAX_GAP_BYTES)
        if found is None:
            raise damaged_header("JPEG")
        start, marker = found.start(), encoded[found.end() - 1]
        if marker in _BARE:
            at = start + 2
            continue
        length = encoded[start + 2] << 8 | encoded[start + 3] if start + 4 <= len(encoded) else 0
        at = start + 2 + length
        if length < 2 or at > len(encoded) or marker in (0xD8, 0xD9):  # a second start of an image, or its end
            raise damaged_header("JPEG")
        yield marker, start, at
        if marker == _SCAN:
            return
        if at > MAX_METADATA_BYTES:
            break
    raise oversized_header("JPEG")


def _size(frame: bytes) -> tuple[int, int]:
    """Width and height. `frame` begins with its marker."""
    components = frame[9] if len(frame) > 9 else 0
    if components not in (1, 3, 4) or len(frame) < 10 + 3 * components or frame[4] != 8:  # a sample must have 8 bits
        raise damaged_header("JPEG")
    height, width = int.from_bytes(frame[5:7]), int.from_bytes(frame[7:9])
    if not width or not height:  # height 0: it follows the first scan, which Pillow does not support
        raise damaged_header("JPEG")
    return width, height


def _buffered(frame: bytes, components_in_scan: int) -> float:
    """Bytes a pixel that libjpeg buffers: 2 for each coefficient where the first scan has no whole pixels, else 0."""
    components = frame[9]
    if frame[1] not in _PROGRESSIVE and components_in_scan == components:
        return 0.0
    factors = [(frame[11 + 3 * at] >> 4, frame[11 + 3 * at] & 15) for at in range(components)]
    largest = max(across for across, _ in factors) * max(down for _, down in factors)
    if not largest:
        raise damaged_header("JPEG")
    return 2 * sum(across * down for across, down in factors) / largest


def _work(pixels: int, count: int, scan_bytes: int) -> float:
    """See `Header.work`. A video that follows the picture counts as if it were read.

    Up to a megapixel, all pixels are written and resized; larger photos are decoded at a fraction.
    """
    written = 0.08 + 2.4e-6 * min(pixels, 1_000_000)
    if count == 1:
        return written + 0.31e-6 * pixels + 7.4e-6 * scan_bytes
    return written + 0.39e-6 * pixels * count + 42e-6 * scan_bytes


def _parts(needed: list[tuple[int, int]], file_bytes: int) -> tuple[Part, ...]:
    """The needed ranges and all that follows them. Empty where the whole file is needed."""
    if sum(stop - start for start, stop in needed) > _MAX_NEEDED_BYTES:
        raise oversized_header("JPEG")
    return () if len(needed) == 1 else (*needed[:-1], (needed[-1][0], file_bytes))
