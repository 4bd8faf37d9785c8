"""Region: the memory in which a front and the core exchange pictures and rows.

A front creates it as a memfd and hands its descriptor to the core (`handshake`). It has no name, and the system frees
it when both processes have ended. It is sealed against any change of its size, so that no access can fail (SIGBUS). It
is sparse: memory is taken only for what has been written.

It consists of equal slots. A slot holds one image's picture at its start, and its row of probabilities in its last
ROW_BYTES. Who may write there when, the messages tell: the front until Submit, then the core until Rows or Failed.
"""

import contextlib
import fcntl
import mmap
import os
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bundle.images import Picture
from bundle.predictions import Probabilities
from server.processes.wire.errors import LinkError

SLOTS = 1024
SLOT_BYTES = 4 << 20
ROW_BYTES = 128 << 10
MOST_CLASSES = ROW_BYTES // 4  # ImageNet-21k has 21 843
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class Region:
    """Slots are named by their number. Arrays that `picture` returned stay valid after `close`."""

    def __init__(self, fd: int, slots: int, slot_bytes: int) -> None:
        """Map a memfd and take it over; it is closed where this raises. Raises LinkError where it is not what the peer
        said.
        """
        self.fd = fd
        self.slots = slots
        self.slot_bytes = slot_bytes
        try:
            self._map = _mapped(fd, slots, slot_bytes)
        except BaseException:
            os.close(fd)
            raise
        memory: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8).reshape(slots, slot_bytes)
        self._pictures = memory[:, : slot_bytes - ROW_BYTES]
        self._rows: Probabilities = memory[:, slot_bytes - ROW_BYTES :].view(np.float32)

    @classmethod
    def create(cls, slots: int = SLOTS, slot_bytes: int = SLOT_BYTES) -> Self:
        """A new region, for a front. `slot_bytes` is a multiple of the page size."""
        fd = os.memfd_create("sesame-region", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, slots * slot_bytes)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, slots, slot_bytes)

    def picture(self, slot: int, height: int, width: int) -> Picture:
        """The slot's picture, (height, width, 3) uint8: the memory itself, which the front writes and the core reads.

        Raises LinkError where there is no such slot or the picture is larger.
        """
        picture_bytes = height * width * 3
        if not (height > 0 < width and picture_bytes <= self.slot_bytes - ROW_BYTES):
            raise LinkError(f"A picture of {width} x {height} pixels does not fit a slot of {self.slot_bytes} bytes.")
        return self._pictures[self._valid(slot), :picture_bytes].reshape(height, width, 3)

    def write_row(self, slot: int, row: Probabilities) -> None:
        """Copy one image's probabilities, (classes,) float32, to the slot.

        Raises LinkError where there is no such slot, ValueError where there are more than MOST_CLASSES.
        """
        self._rows[self._valid(slot), : _fitting(len(row))] = row

    def read_row(self, slot: int, classes: int) -> Probabilities:
        """A copy of the slot's row, (classes,) float32. Raises as `write_row` does."""
        return self._rows[self._valid(slot), : _fitting(classes)].copy()

    def close(self) -> None:
        """Give the memory up; no slot exists any more. It is unmapped when the last array over it is gone: unmapping it
        under an array that a thread still reads would end the process.
        """
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        self._pictures, self._rows = np.empty((0, 0), np.uint8), np.empty((0, 0), np.float32)
        with contextlib.suppress(BufferError):
            self._map.close()
        del self._map

    def _valid(self, slot: int) -> int:
        if not 0 <= slot < len(self._rows):
            raise LinkError(f"There is no slot {slot}: the region has {len(self._rows)}.")
        return slot


def _mapped(fd: int, slots: int, slot_bytes: int) -> mmap.mmap:
    """The whole memfd as memory. Raises LinkError where it is not sealed, of another size, or not to be written."""
    if slots < 1 or slot_bytes <= ROW_BYTES or slot_bytes % mmap.PAGESIZE:
        raise LinkError(f"A region cannot have {slots} slots of {slot_bytes} bytes.")
    try:
        size_bytes, seals = os.fstat(fd).st_size, fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        if size_bytes != slots * slot_bytes:
            raise LinkError(f"The region has {size_bytes} bytes, not {slots} slots of {slot_bytes}.")
        if seals & _SEALS != _SEALS:
            raise LinkError("The region is not sealed: its owner could shrink it under a reader.")
        return mmap.mmap(fd, slots * slot_bytes)
    except OSError as error:
        raise LinkError(f"The region is no memory that can be shared: {error}.") from error


def _fitting(classes: int) -> int:
    if not 0 < classes <= MOST_CLASSES:
        raise ValueError(f"A row of {classes} classes does not fit a slot, which has room for {MOST_CLASSES}.")
    return classes
