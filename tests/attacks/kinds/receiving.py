"""Receiving: bodies that fill memory, or never end."""

import asyncio
import contextlib
from functools import partial

from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.attacks.attack import MIB, Attack, Target, Told, again, at_once
from tests.attacks.wire import http2, senders
from tests.attacks.wire.http1 import Connection, head

_UPLOADS = 40
_UPLOAD_BYTES = 60 * MIB
_HALF_BYTES = 19 * MIB
_HALVES = 60  # 40 of them would just stay within what uploads may take


async def uploads(target: Target, block: bytes, told: Told) -> None:
    """40 forms and JSON texts of 60 MiB at once: 16 fast, 12 slow, 12 that stop before their last block."""

    async def upload(index: int) -> str:
        kind = "application/json" if index % 2 else "multipart/form-data; boundary=Bx"
        opening = b'{"image": "' if index % 2 else b'--Bx\r\nContent-Disposition: form-data; filename="a"\r\n\r\n'
        closing = b'"}' if index % 2 else b"\r\n--Bx--\r\n"
        length = len(opening) + _UPLOAD_BYTES + len(closing)
        connection = await Connection.open(target.http_port)
        try:
            await connection.send(head("POST", "/classify", {"Content-Type": kind, "Content-Length": str(length)}))
            sending = asyncio.create_task(_upload(connection, block, opening, closing, index % 10))
            try:
                return str((await connection.answer()).status)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        finally:
            connection.close()

    await at_once(*(again(told, partial(upload, index)) for index in range(_UPLOADS)))


async def _upload(connection: Connection, block: bytes, opening: bytes, closing: bytes, way: int) -> None:
    await connection.send(opening)
    blocks = _UPLOAD_BYTES // len(block)
    for _ in range(blocks - (way >= 7)):
        await connection.send(block)
        if 4 <= way < 7:
            await asyncio.sleep(0.05)
    if way < 7:
        await connection.send(closing)


async def half_sent_on_one(target: Target, block: bytes, told: Told) -> None:
    """60 calls over one connection that send 19 MiB of a message one byte longer, and wait."""
    await _half_sent(target, block, told, connections=1)


async def half_sent_on_many(target: Target, block: bytes, told: Told) -> None:
    """60 calls over 60 connections that send 19 MiB of a message one byte longer, and wait."""
    await _half_sent(target, block, told, connections=_HALVES)


async def _half_sent(target: Target, block: bytes, told: Told, connections: int) -> None:
    async def call(connection: http2.Connection) -> None:
        stream = connection.begin()
        try:
            await connection.send(stream, http2.message(b"", promised=_HALF_BYTES + 1))
            for _ in range(_HALF_BYTES // len(block)):
                await connection.send(stream, block)
            await connection.closed.wait()
        finally:
            told.outcomes[
                "refused" if stream in connection.ended else "closed" if connection.closed.is_set() else "held"
            ] += 1

    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for _ in range(connections):
            opened.append(await http2.Connection.open(target.grpc_port))
            stack.push_async_callback(opened[-1].close)
        await at_once(*(call(opened[index % connections]) for index in range(_HALVES)))
        await asyncio.sleep(target.seconds)  # all were refused: not again, what is asked is what the server holds


async def large_messages(target: Target, block: bytes, told: Told) -> None:
    """40 calls at once with whole messages of 19 MiB that are no photo, again and again."""
    request = pb.ClassifyRequest(image=block * (_HALF_BYTES // len(block)))

    async def client() -> None:
        async with senders.stub(target) as stub:
            await again(told, lambda: senders.call(stub, request))

    await at_once(*(client() for _ in range(_UPLOADS)))


def a_mebibyte() -> bytes:
    return b"a" * MIB


ATTACKS = [
    Attack("uploads", ("rest",), uploads, a_mebibyte, growth_bytes=800 * MIB),
    Attack("large messages", ("rpc",), large_messages, a_mebibyte, growth_bytes=800 * MIB),
    Attack("half-sent on one", ("rpc",), half_sent_on_one, a_mebibyte, growth_bytes=800 * MIB),
    Attack("half-sent on 60", ("rpc",), half_sent_on_many, a_mebibyte, growth_bytes=800 * MIB),
]
