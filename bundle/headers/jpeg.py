"""JPEG: its segments up to the first scan, and its scans."""

import re
from collections.abc import Iterator

from bundle.headers import exif
from bundle.headers.header import LEAST_WORK, MAX_METADATA_BYTES, MAX_SEGMENTS, Header, Part, crowded, damaged
from bundle.headers.scans import scans

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # start of frame, of any coding
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_BARE = (0x01, *range(0xD0, 0xD8))  # TEM and restarts: no length follows
_SCAN, _ADOBE, _EXIF = 0xDA, 0xEE, 0xE1
_METADATA = (*range(0xE0, 0xF0), 0xFE)  # APPn and comments
_NEEDED = {0xE0: b"JFIF\0", _ADOBE: b"Adobe"}  # they say which colours the samples are
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MAX_GAP_BYTES = 1 << 16  # between segments; fill bytes are allowed there, and a few are seen

_MAX_NEEDED_BYTES = 1 << 17
"""What is left without metadata. All tables that a JPEG can have are below 4 KB, a JFIF thumbnail below 64 KB."""


def read_jpeg(encoded: bytes) -> Header:
    """The header of a JPEG, of a phone's two pictures the first. Raises BadImage."""
    frame, orientation, first_scan = b"", 0, 0
    kept: list[tuple[int, int]] = [(0, 2)]
    for marker, start, stop in _segments(encoded):
        if marker in _METADATA and not encoded.startswith(_NEEDED.get(marker, b"\xff"), start + 4):
            if marker == _EXIF and not orientation and encoded.startswith(b"Exif\0\0", start + 4):
                orientation = exif.orientation(encoded[start + 4 : stop])
            continue
        if marker in _FRAMES:
            if frame:
                raise damaged("JPEG")
            frame = encoded[start:stop]
        kept[-1:] = [(kept[-1][0], stop)] if kept[-1][1] == start else [kept[-1], (start, stop)]
        first_scan = start
    width, height = _size(frame)
    held = _buffered(frame, int.from_bytes(encoded[first_scan + 4 : first_scan + 5]))
    count = scans(encoded, first_scan)
    work = _work(width * height, count, len(encoded) - first_scan)
    return Header("JPEG", width, height, orientation or 1, work, _parts(kept, len(encoded)), count, held)


def _segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and stop of each segment up to the first start of a scan, which is the last."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(encoded, at, at + _MAX_GAP_BYTES)
        if found is None:
            raise damaged("JPEG")
        start, marker = found.start(), encoded[found.end() - 1]
        if marker in _BARE:
            at = start + 2
            continue
        length = int.from_bytes(encoded[start + 2 : start + 4])
        at = start + 2 + length
        if length < 2 or at > len(encoded) or marker in (0xD8, 0xD9):  # a second start, or the end
            raise damaged("JPEG")
        yield marker, start, at
        if marker == _SCAN:
            return
        if at > MAX_METADATA_BYTES:
            break
    raise crowded("JPEG")


def _size(frame: bytes) -> tuple[int, int]:
    """Width and height. `frame` begins with its marker."""
    components = frame[9] if len(frame) > 9 else 0
    if components not in (1, 3, 4) or len(frame) < 10 + 3 * components or frame[4] != 8:  # bits of a sample
        raise damaged("JPEG")
    height, width = int.from_bytes(frame[5:7]), int.from_bytes(frame[7:9])
    if not width or not height:  # a height of 0 is given behind the first scan, which no decoder of ours reads
        raise damaged("JPEG")
    return width, height


def _buffered(frame: bytes, components_in_scan: int) -> float:
    """Bytes a pixel that libjpeg keeps: 2 for each coefficient, where the first scan does not complete pixels."""
    components = frame[9]
    if frame[1] not in _PROGRESSIVE and components_in_scan == components:
        return 0.0
    factors = [(frame[11 + 3 * at] >> 4, frame[11 + 3 * at] & 15) for at in range(components)]
    largest = max(across for across, _ in factors) * max(down for _, down in factors)
    if not largest:
        raise damaged("JPEG")
    return 2 * sum(across * down for across, down in factors) / largest


def _work(pixels: int, count: int, scan_bytes: int) -> float:
    """As `Header.work`. A video behind the picture counts as if it were read."""
    return LEAST_WORK + 0.16e-6 * pixels * count + (7e-6 if count == 1 else 17e-6) * scan_bytes


def _parts(kept: list[tuple[int, int]], file_bytes: int) -> tuple[Part, ...]:
    """What is kept, and everything behind it; none where nothing is left out."""
    if sum(stop - start for start, stop in kept) > _MAX_NEEDED_BYTES:
        raise crowded("JPEG")
    return () if len(kept) == 1 else (*kept[:-1], (kept[-1][0], file_bytes))
