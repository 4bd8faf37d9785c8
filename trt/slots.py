"""Slot: the memory of one batch on host and GPU, and the launches of the plan on it."""

import ctypes
from collections.abc import Callable

import numpy as np
from cuda.core import Buffer, Device, LegacyPinnedMemoryResource, Stream
from numpy.typing import NDArray

from bundle.images import Pixels
from bundle.predictions import Probabilities

Launch = Callable[[Stream], None]
"""Queues the computation of a slot's batch on a stream, and returns at once."""


class Slot:
    """Memory for the pixels and rows of up to `images` images. One thread at a time uses a slot.

    Host memory is pinned, so that copies overlap with computation, and addresses never change. The owner of the slot
    fills `launches`, by batch size.
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
        self._pixels_array = _as_array(self._host_pixels).reshape(images, *image)
        self._rows_array = _as_array(self._host_rows).view(np.float32).reshape(images, classes)

    def copy_in(self, pixels: Pixels, stream: Stream) -> None:
        """Queue the copy of these images to the GPU. The rest of the batch keeps old pixels; its rows are not read."""
        self._pixels_array[: len(pixels)] = pixels
        _copy(self._host_pixels, self.pixels, len(pixels) * self._image_bytes, stream)

    def copy_out(self, images: int, stream: Stream) -> None:
        _copy(self.rows, self._host_rows, images * self._row_bytes, stream)

    def answers(self, images: int) -> Probabilities:
        """The rows on the host, (images, classes), as a copy. Call it after the event behind `copy_out` is done."""
        return self._rows_array[:images].copy()


def _copy(source: Buffer, target: Buffer, size: int, stream: Stream) -> None:
    part = Buffer.from_handle(int(target.handle), size, owner=target)
    Buffer.from_handle(int(source.handle), size, owner=source).copy_to(part, stream=stream)


def _as_array(buffer: Buffer) -> NDArray[np.uint8]:
    """Host memory as an array, valid as long as its buffer exists."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * buffer.size).from_address(int(buffer.handle)))
