"""HTTP/2 by hand (RFC 9113), as little of it as a gRPC call needs: messages may end half-way, windows stay shut."""

import asyncio
import itertools
import struct
from typing import Self

from tests.attacks.wire.http1 import HOST

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 1
END_HEADERS = 4
CLASSIFY = "/sesame.v1.ImageClassifier/Classify"
STREAM = "/sesame.v1.ImageClassifier/ClassifyStream"

_INITIAL_WINDOW_SIZE = 4  # the setting's number
_FIRST_WINDOW = 65_535
_FRAME_BYTES = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def field(name: str, value: str) -> bytes:
    """A header field of HPACK, literal and not to be remembered (RFC 7541, 6.2.2)."""
    return b"\x00" + _text(name) + _text(value)


def call_fields(path: str) -> bytes:
    """The headers of a gRPC call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "sesame",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(field(name, value) for name, value in fields.items())


def message(content: bytes, promised: int | None = None) -> bytes:
    """A gRPC message behind its length, which may promise more than there is."""
    return struct.pack(">BI", 0, len(content) if promised is None else promised) + content


def _text(text: str) -> bytes:
    length, encoded = len(text), bytearray()
    if length < 127:
        return bytes((length,)) + text.encode()
    length -= 127
    while length >= 128:
        encoded.append(length % 128 + 128)
        length //= 128
    return b"\x7f" + bytes((*encoded, length)) + text.encode()


class Connection:
    """One connection whose streams send as fast as the server's windows let them.

    What comes is counted in `ended` (streams that the server ended) and `data_bytes`; `closed` is set when the
    connection ends. `open` and `send` may raise OSError.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int) -> None:
        self.writer = writer
        self.closed = asyncio.Event()
        self.ended: set[int] = set()
        self.data_bytes = 0
        self._reader = reader
        self._generous = window > 0
        self._first_window = _FIRST_WINDOW
        self._room: dict[int, int] = {0: _FIRST_WINDOW}
        self._more_room = asyncio.Condition()
        self._numbers = itertools.count(1, 2)
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, window: int = _FIRST_WINDOW) -> Self:
        """`window`: bytes that the server may send on each stream before it must wait for more."""
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)))
        return cls(reader, writer, window)

    def begin(self, path: str = CLASSIFY) -> int:
        """Begin a call; returns its stream."""
        stream = next(self._numbers)
        self._room[stream] = self._first_window
        self.writer.write(frame(HEADERS, END_HEADERS, stream, call_fields(path)))
        return stream

    async def send(self, stream: int, content: bytes, end: bool = False) -> None:
        """All of the content, unless the server ends the stream or the connection meanwhile."""
        at = 0
        while at < len(content) and not self._over(stream):
            room = await self._await_room(stream)
            piece = content[at : at + room]
            at += len(piece)
            self._room[0] -= len(piece)
            self._room[stream] -= len(piece)
            self.writer.write(frame(DATA, END_STREAM if end and at == len(content) else 0, stream, piece))
            await self.writer.drain()

    def reset(self, stream: int) -> None:
        self.writer.write(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.writer.transport.abort()

    def _over(self, stream: int) -> bool:
        return stream in self.ended or self.closed.is_set()

    async def _await_room(self, stream: int) -> int:
        def room() -> int:
            return max(0, min(self._room[0], self._room[stream], _FRAME_BYTES))

        async with self._more_room:
            await self._more_room.wait_for(lambda: room() > 0 or self._over(stream))
        return room()

    async def _read(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(header[:3]))
                async with self._more_room:
                    self._take(header[3], header[4], int.from_bytes(header[5:9]) & 0x7FFFFFFF, payload)
                    self._more_room.notify_all()
        except (EOFError, OSError):
            pass
        finally:
            self.closed.set()
            async with self._more_room:
                self._more_room.notify_all()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._settle(payload)
        elif kind == PING and not flags & ACK:
            self.writer.write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            self._room[stream] = self._room.get(stream, self._first_window) + int.from_bytes(payload)
        elif kind == DATA:
            self._took_data(stream, len(payload))
        if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self.ended.add(stream)

    def _settle(self, payload: bytes) -> None:
        for number, value in struct.iter_unpack(">HI", payload):
            if number == _INITIAL_WINDOW_SIZE:
                for stream in self._room.keys() - {0}:
                    self._room[stream] += value - self._first_window
                self._first_window = value
        self.writer.write(frame(SETTINGS, ACK, 0))

    def _took_data(self, stream: int, count: int) -> None:
        self.data_bytes += count
        if self._generous and count:
            self.writer.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", count)))
            self.writer.write(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", count)))
