"""Header: what an image file states about its photo, and which parts of the file a decoder needs."""

from dataclasses import dataclass
from typing import Literal

from bundle.errors import BadImage

Kind = Literal["JPEG", "PNG", "WEBP"]
Part = bytes | tuple[int, int]  # literal bytes, or (start, stop) in the file

MAX_SEGMENTS = 1000
"""Segments of a JPEG, or chunks of a PNG or WebP without pixels, that a file may have. A camera writes about thirty."""

LEAST_WORK = 0.5  # `Header.work` of the smallest image that Pillow decodes

MAX_METADATA_BYTES = 4 << 20
"""Bytes that may come before the pixels. Profiles, thumbnails and editing histories are rarely above 1 MiB in all."""


@dataclass(frozen=True)
class Header:
    """Width and height, in pixels, are those of the stored image. `orientation` (EXIF, 1 to 8) turns it upright.

    `parts` are the pieces of the file that a decoder needs, in order; empty means the whole file. `scans` is the number
    of a JPEG's scans. `bytes_a_pixel` is the memory that a decoder needs in addition to the decoded image (at most 4
    bytes a pixel); for WebP, the memory in all. `ordinary` is true for a JPEG that a fast decoder takes: grey or three
    colours, 8 bits, coded by Huffman's method, baseline or progressive.

    `work` estimates the time of fast decoding; the unit is the time for an ordinary photo (JPEG, 500 x 375, 60 KB). It
    is the sum of a constant, the samples that the decoder writes and the bytes that it reads, with factors that depend
    on the format. The factors come from a fit to 46 files of 4096 pixels to 48 megapixels, which took 0.1 to 170 ms on
    one x86 core with `fast_jpeg`. All above 0.1 megapixels were within a factor of 2. Without `fast_jpeg` an ordinary
    photo takes longer and the others do not, so those are overestimated, up to 3 times.
    """

    kind: Kind
    width: int
    height: int
    orientation: int
    work: float
    parts: tuple[Part, ...] = ()
    scans: int = 1
    bytes_a_pixel: float = 0.0
    ordinary: bool = False

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return self.width * self.height

    def needed_bytes(self, encoded: bytes) -> bytes:
        """The parts of the file that a decoder needs. Where it needs all, the file itself, not a copy."""
        if not self.parts:
            return encoded
        view = memoryview(encoded)
        return b"".join(part if isinstance(part, bytes) else view[part[0] : part[1]] for part in self.parts)


def damaged_header(kind: Kind) -> BadImage:
    """The error for a file whose structure cannot be read."""
    return BadImage(f"The {kind} has a damaged header: send the whole, undamaged file.")


def oversized_header(kind: Kind) -> BadImage:
    """The error for a file with more segments or metadata than a photo has."""
    return BadImage(
        f"The {kind} has more than {MAX_SEGMENTS} segments, or more than {MAX_METADATA_BYTES >> 20} MiB before its "
        "pixels: save it again without metadata."
    )
