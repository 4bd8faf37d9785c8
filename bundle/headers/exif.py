"""EXIF: the orientation of a photo. Nothing else is read from it."""

import struct

_PREFIX = b"Exif\0\0"
_ORDERS = {b"II": "<", b"MM": ">"}
_ORIENTATION = 0x0112
_TYPES = {3: "H", 4: "I"}  # SHORT, LONG
_MAX_ENTRIES = 512
"""Later entries are ignored. Cameras write about ten, sorted by tag, and the orientation has a low tag."""


def orientation(block: bytes) -> int:
    """1 to 8, from the first directory of an EXIF block, with or without its prefix. 1 if it is damaged or missing."""
    try:
        return _orientation(block.removeprefix(_PREFIX))
    except struct.error:  # the block ends early
        return 1


def _orientation(tiff: bytes) -> int:
    order = _ORDERS.get(tiff[:2])
    if order is None or tiff[2:4] not in (b"*\0", b"\0*"):
        return 1
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for at in range(directory + 2, directory + 2 + 12 * min(entries, _MAX_ENTRIES), 12):
        tag, type_, count = struct.unpack_from(order + "HHI", tiff, at)
        if tag == _ORIENTATION:
            found = struct.unpack_from(order + _TYPES[type_], tiff, at + 8)[0] if type_ in _TYPES and count == 1 else 1
            return found if 1 <= found <= 8 else 1
    return 1
