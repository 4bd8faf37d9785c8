"""Frames: the messages of one direction, out of a byte stream that comes in pieces."""

import struct
from typing import Any, Generic, TypeVar

import msgspec

from server.processes.wire.errors import LinkError
from server.processes.wire.messages import FRAME_BYTES, SIZE_BYTES, ToCore, ToFront

_SIZE = struct.Struct("<I")

Received = TypeVar("Received")


class Frames(Generic[Received]):
    """After a LinkError it is of no further use: nobody knows where the next frame begins."""

    def __init__(self, kinds: Any) -> None:
        """`kinds`: the union of the messages that may come."""
        self._decoder: msgspec.msgpack.Decoder[Received] = msgspec.msgpack.Decoder(kinds)
        self._rest = bytearray()  # the beginning of a frame that is not whole
        self._needed_bytes = SIZE_BYTES  # fewer than these are no frame

    @property
    def torn(self) -> bool:
        """Whether the stream, if it ended here, would end within a frame."""
        return bool(self._rest)

    @property
    def missing_bytes(self) -> int:
        """With at most so many bytes more, no second message can begin."""
        return self._needed_bytes - len(self._rest)

    def feed(self, data: bytes) -> list[Received]:
        """The messages that are whole with this piece, in order. Raises LinkError, also where some were whole."""
        if not self._rest:
            used, messages = self._decode_all(data)
            if used < len(data):
                self._rest += data[used:]
            return messages
        self._rest += data
        if len(self._rest) < self._needed_bytes:
            return []
        used, messages = self._decode_all(self._rest)
        del self._rest[:used]
        return messages

    def _decode_all(self, data: bytes | bytearray) -> tuple[int, list[Received]]:
        """The messages of all whole frames, and how many bytes these have."""
        messages = []
        at, self._needed_bytes = 0, SIZE_BYTES
        try:
            while len(data) - at >= SIZE_BYTES:
                (size_bytes,) = _SIZE.unpack_from(data, at)
                end = at + SIZE_BYTES + size_bytes
                if end - at > FRAME_BYTES:
                    raise LinkError(f"A message of {end - at} bytes is longer than {FRAME_BYTES}.")
                if end > len(data):
                    self._needed_bytes = end - at
                    break
                messages.append(self._decoder.decode(data[at + SIZE_BYTES : end]))
                at = end
        except (ValueError, RecursionError) as error:  # msgspec's errors, and those of str, are ValueErrors
            raise LinkError(f"A message cannot be read: {error}") from error
        return at, messages


def frames_to_core() -> Frames[ToCore]:
    """For what the core receives."""
    return Frames(ToCore)


def frames_to_front() -> Frames[ToFront]:
    """For what a front receives."""
    return Frames(ToFront)
