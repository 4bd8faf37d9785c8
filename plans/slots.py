"""Slot: the memory of one batch on both sides, and how the plan is launched on it."""

import ctypes
from collections.abc import Callable

import numpy as np
from cuda.core import Buffer, Device, LegacyPinnedMemoryResource, Stream
from numpy.typing import NDArray

from bundle.images import Pixels
from bundle.predictions import Probabilities

Launch = Callable[[Stream], None]
"""Queues the computation of a slot's batch."""


class Slot:
    """Pixels and rows of up to `images` images: pinned on the host, so that copies overlap with computing, and on the
    GPU, at addresses that never change.

    `launches`, by batch size, are set by whoever makes the slot.
    """

    def __init__(self, device: Device, stream: Stream, images: int, image: tuple[int, ...], classes: int) -> None:
        self.launches: dict[int, Launch] = {}
        self._image_bytes = int(np.prod(image))
        self._row_bytes = 4 * classes
        pinned = LegacyPinnedMemoryResource()
        self._host_pixels = pinned.allocate(images * self._image_bytes)
        self._host_rows = pinned.allocate(images * self._row_bytes)
        self.pixels = device.allocate(images * self._image_bytes, stream=stream)
        self.rows = device.allocate(images * self._row_bytes, stream=stream)
        self._pixels_seen = _seen(self._host_pixels).reshape(images, *image)
        self._rows_seen = _seen(self._host_rows).view(np.float32).reshape(images, classes)

    def copy_in(self, pixels: Pixels, stream: Stream) -> None:
        """Only the images that there are: the rest of the batch keeps what was there, and its rows are not read."""
        self._pixels_seen[: len(pixels)] = pixels
        _copy(self._host_pixels, self.pixels, len(pixels) * self._image_bytes, stream)

    def copy_out(self, images: int, stream: Stream) -> None:
        _copy(self.rows, self._host_rows, images * self._row_bytes, stream)

    def answers(self, images: int) -> Probabilities:
        """The rows, as they are once the copy is done; the slot's memory will be written again."""
        return self._rows_seen[:images].copy()


def _copy(source: Buffer, target: Buffer, size: int, stream: Stream) -> None:
    part = Buffer.from_handle(int(target.handle), size, owner=target)
    Buffer.from_handle(int(source.handle), size, owner=source).copy_to(part, stream=stream)


def _seen(buffer: Buffer) -> NDArray[np.uint8]:
    """Host memory as an array, for as long as its buffer is there."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * buffer.size).from_address(int(buffer.handle)))
