"""Headers: those that fill memory or never end, and connections that say nothing."""

import asyncio
import time

from tests.attacks.attack import MIB, Attack, Target, Told, again, at_once
from tests.attacks.kinds.receiving import a_mebibyte
from tests.attacks.wire import http2
from tests.attacks.wire.http1 import Connection

_HEADER_BYTES = 60 * MIB
_VALUE_BYTES = 100 * MIB
_SLOW_CLIENTS = 200
_IDLE_CLIENTS = 2000
_HEADER_S = 14.0  # the ten that it may take, and what a busy machine adds


async def large_headers(target: Target, block: bytes, told: Told) -> None:
    """60 MiB of headers of 8 KiB each, over two connections, again and again."""
    line = b"X-Header: " + block[: 8 << 10] + b"\r\n"
    await _refused(target, [line] * (_HEADER_BYTES // len(line)), told)


async def large_value(target: Target, block: bytes, told: Told) -> None:
    """One header with a value of 100 MiB, over two connections, again and again."""
    await _refused(target, [b"X-Header: ", *([block] * (_VALUE_BYTES // len(block))), b"\r\n"], told)


async def _refused(target: Target, lines: list[bytes], told: Told) -> None:
    async def once() -> str:
        connection = await Connection.open(target.http_port)
        try:
            status = (await connection.ask(b"GET /livez HTTP/1.1\r\n", *lines, b"\r\n")).status
        finally:
            connection.close()
        if status != 431:
            told.complaints[f"a header far too large: {status}"] += 1
        return str(status)

    await at_once(*(again(told, once) for _ in range(2)))


async def large_metadata(target: Target, block: bytes, told: Told) -> None:
    """gRPC: a header block that goes on in CONTINUATION frames of 16 KiB without end, over two connections."""
    piece = http2.field("x-header", block[:16_000].decode())

    async def once() -> str:
        connection = await http2.Connection.open(target.grpc_port)
        try:
            connection.writer.write(http2.frame(http2.HEADERS, 0, 1, http2.call_fields(http2.CLASSIFY)))
            while not connection.closed.is_set():
                connection.writer.write(http2.frame(http2.CONTINUATION, 0, 1, piece))
                await connection.writer.drain()
            return "closed"
        finally:
            await connection.close()

    await at_once(*(again(told, once) for _ in range(2)))


async def endless_headers(target: Target, prepared: object, told: Told) -> None:
    """200 connections whose header gets one more byte each second; none is waited for longer than ten seconds."""

    async def once() -> str:
        connection = await Connection.open(target.http_port)
        began_s = time.monotonic()
        answering = asyncio.create_task(connection.answer())
        try:
            await connection.send(b"GET /livez HTTP/1.1\r\nX-Slow: ")
            while not answering.done():
                await connection.send(b"a")
                await asyncio.wait((answering,), timeout=1)
            return str(answering.result().status)
        finally:
            connection.close()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            if time.monotonic() - began_s > _HEADER_S:
                told.complaints[f"a header was waited for longer than {_HEADER_S:.0f} s"] += 1

    await at_once(*(again(told, once) for _ in range(_SLOW_CLIENTS)))


async def idle_connections(target: Target, prepared: object, told: Told) -> None:
    """2000 connections that say nothing."""
    port = target.grpc_port if target.face == "rpc" else target.http_port
    room = asyncio.Semaphore(100)  # to come in; all of them stay

    async def once() -> str:
        async with room:
            connection = await Connection.open(port)
        try:
            await connection.reader.read()
            return "closed"
        finally:
            connection.close()

    await at_once(*(again(told, once, pause_s=1) for _ in range(_IDLE_CLIENTS)))


ATTACKS = [
    Attack("large headers", ("rest",), large_headers, a_mebibyte),
    Attack("large value", ("rest",), large_value, a_mebibyte),
    Attack("large metadata", ("rpc",), large_metadata, a_mebibyte),
    Attack("endless headers", ("rest",), endless_headers, least_s=_HEADER_S + 2),
    Attack("idle connections", ("rest", "rpc"), idle_connections),
]
