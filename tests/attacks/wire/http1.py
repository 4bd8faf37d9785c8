"""HTTP/1.1 by hand: nothing is checked before it is sent, and sending does not wait for reading."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

HOST = "127.0.0.1"
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Answer:
    """`headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def last(self) -> bool:
        """Whether the server closes the connection after it."""
        return self.headers.get("connection", "").lower() == "close"


class Connection:
    """One connection. Every method may raise OSError, and `answer` EOFError, where the server ends it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, received_bytes: int | None = None) -> Self:
        """`received_bytes`: how much the kernel may hold of what the server sends."""
        sock = socket.socket()
        try:
            if received_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received_bytes)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
            return cls(*await asyncio.open_connection(sock=sock, limit=_LONGEST_LINE))
        except BaseException:
            sock.close()
            raise

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
        await self.writer.drain()

    async def ask(self, *parts: bytes) -> Answer:
        """Send while reading: a server may answer before it has everything."""
        sending = asyncio.ensure_future(self.send(*parts))
        await asyncio.sleep(0)  # or an answer that is already here would keep it from beginning
        try:
            return await self.answer()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        status = int(head[0].split(" ")[1])
        if status == 100:
            return await self.answer()
        return Answer(status, headers, await self._body(headers))

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.read()
        chunks = []
        while length := int(await self.reader.readline(), 16):
            chunks.append((await self.reader.readexactly(length + 2))[:-2])
        await self.reader.readline()
        return b"".join(chunks)

    def close(self) -> None:
        """At once, with nothing more sent."""
        self.writer.transport.abort()


def head(method: str, target: str, headers: Mapping[str, str] | None = None) -> bytes:
    """A request up to its body; the headers are sent as they are."""
    lines = [f"{method} {target} HTTP/1.1", "Host: sesame", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(target: str, body: Sequence[bytes], kind: str = "image/jpeg", **more: str) -> list[bytes]:
    """A whole POST, ready to send."""
    headers = {"Content-Type": kind, "Content-Length": str(sum(map(len, body))), **more}
    return [head("POST", target, headers), *body]


def chunked(body: bytes) -> bytes:
    """A body in one chunk."""
    return f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
