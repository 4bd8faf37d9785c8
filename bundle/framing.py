"""Framing: to which size a photo is resized, and which part of it the network sees."""

from dataclasses import dataclass

from bundle.manifest import Preprocessing
from bundle.strips import Box, Size, stored_box, swaps_sides

_DRAFT_SCALE = 2  # in fast decoding, a JPEG is decoded to at least this many times the resized size


def oriented(size: Size, orientation: int) -> Size:
    """From the size of the stored image to that of the upright one, or back."""
    return size[::-1] if swaps_sides(orientation) else size


@dataclass(frozen=True)
class Framing:
    """The upright photo is resized to `size`, and `crop` (left, top, right, bottom) is cut out of it.

    `orientation`: EXIF's, 1 to 8, of the stored photo.
    """

    size: Size
    crop: tuple[int, int, int, int]
    orientation: int

    @property
    def cropped(self) -> Size:
        """The size of the crop."""
        return self.crop[2] - self.crop[0], self.crop[3] - self.crop[1]

    @property
    def least(self) -> Size:
        """The least size, of the stored photo, at which fast decoding may decode it."""
        return oriented((_DRAFT_SCALE * self.size[0], _DRAFT_SCALE * self.size[1]), self.orientation)

    def source(self, whole: Size) -> Box:
        """The box in an upright image of size `whole` that becomes the crop."""
        across, down = whole[0] / self.size[0], whole[1] / self.size[1]
        right, bottom = min(float(whole[0]), self.crop[2] * across), min(float(whole[1]), self.crop[3] * down)
        return (self.crop[0] * across, self.crop[1] * down, right, bottom)  # `min`: a float may round up

    def stored_source(self, stored: Size) -> Box:
        """The box in an image that is not upright yet."""
        whole = oriented(stored, self.orientation)
        return stored_box(self.source(whole), whole, self.orientation)


def framing(stored: Size, orientation: int, wanted: Preprocessing) -> Framing:
    """With the rounding of torchvision's `Resize` and `CenterCrop`. `stored`: the size of the stored photo."""
    width, height = oriented(stored, orientation)
    if wanted.resize == "squash":
        size = (wanted.resize_to, wanted.resize_to)
    elif width <= height:
        size = (wanted.resize_to, int(wanted.resize_to * height / width))
    else:
        size = (int(wanted.resize_to * width / height), wanted.resize_to)
    left = round((size[0] - wanted.width) / 2)
    top = round((size[1] - wanted.height) / 2)
    return Framing(size, (left, top, left + wanted.width, top + wanted.height), orientation)
