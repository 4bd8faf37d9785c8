"""Header: what a file says about its photo, and what of the file a decoder needs."""

from dataclasses import dataclass
from typing import Literal

from bundle.errors import BadImage

Kind = Literal["JPEG", "PNG", "WEBP"]
Part = bytes | tuple[int, int]  # literal bytes, or (start, stop) in the file

MAX_SEGMENTS = 1000
"""Segments of a JPEG, and chunks of a PNG or WebP that hold no pixels. A camera writes about thirty."""

LEAST_WORK = 0.5  # of any image, see `Header.work`

MAX_METADATA_BYTES = 4 << 20
"""Before the pixels. Profiles, thumbnails and editing histories together are rarely above 1 MiB."""


@dataclass(frozen=True)
class Header:
    """Width and height are those of the stored image, which `orientation` (EXIF, 1 to 8) brings upright.

    `bytes_a_pixel`: the memory that a decoder takes beside the image of at most 4 bytes a pixel that it makes, or for
    WebP in all. `parts`: the pieces of the file that a decoder needs, in order; none means the whole file.

    `work`: the time of decoding it fast, in ordinary photos (JPEG, 500 x 375, 60 KB). A constant, the samples that the
    decoder writes and the bytes that it reads, each with a factor of its format. The factors were fitted to 27 files of
    0.2 to 49 megapixels, which took 1.4 ms to 5 s on one x86 core: all below 100 MB were within a factor of 2, on a
    quiet machine and on a busy one.
    """

    kind: Kind
    width: int
    height: int
    orientation: int
    work: float
    parts: tuple[Part, ...] = ()
    scans: int = 1
    bytes_a_pixel: float = 0.0

    @property
    def pixels(self) -> int:
        """Of the stored image."""
        return self.width * self.height

    def needed(self, encoded: bytes) -> bytes:
        """The file without what a decoder does not need; the file itself, not copied, where all is needed."""
        if not self.parts:
            return encoded
        view = memoryview(encoded)
        return b"".join(part if isinstance(part, bytes) else view[part[0] : part[1]] for part in self.parts)


def damaged(kind: Kind) -> BadImage:
    """The error for a structure that cannot be followed."""
    return BadImage(f"The {kind} has a damaged header: send the whole file.")


def crowded(kind: Kind) -> BadImage:
    """The error for more structure than a photo has."""
    return BadImage(
        f"The {kind} has more than {MAX_SEGMENTS} segments, or more than {MAX_METADATA_BYTES >> 20} MiB before its "
        "pixels: save it again without metadata."
    )
