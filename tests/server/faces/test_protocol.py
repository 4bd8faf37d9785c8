"""One HTTP connection: offers of other protocols, heads without measure, and too many connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.faces import Running, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
SMUGGLED = b"DELETE /admin HTTP/1.1\r\nHost: x\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.fixture
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1], max_connections=3) as server:
        await server.rest.http.aclose()  # its connections count
        yield server
        await Wire.close_all()


class Wire:
    """A connection on which bytes are written as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    opened: ClassVar[list["Wire"]] = []

    @classmethod
    async def open(cls, server: Running) -> "Wire":
        cls.opened.append(cls(*await asyncio.open_connection("127.0.0.1", server.http_port)))
        return cls.opened[-1]

    @classmethod
    async def close_all(cls) -> None:
        for wire in cls.opened:
            wire.writer.transport.abort()
        cls.opened.clear()
        await asyncio.sleep(0)

    async def answer(self, request: bytes = b"") -> tuple[int, bytes]:
        self.writer.write(request)
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return int(head.split()[1]), await self.reader.readexactly(int(length.split(b":")[1]))

    async def closed(self) -> bool:
        async with asyncio.timeout(30):
            return await self.reader.read() == b""


def post(body: bytes, headers: bytes = b"") -> bytes:
    return b"POST /classify HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (headers, len(body), body)


def chunked(body: bytes, headers: bytes = b"") -> bytes:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n" % headers
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("request_of", [post, chunked])
async def test_a_photo_sent_with_an_offer_of_http2_is_answered_and_the_connection_goes_on(
    request_of: Callable[[bytes, bytes], bytes], server: Running
) -> None:
    wire = await Wire.open(server)
    for _ in range(2):
        status, body = await wire.answer(request_of(jpeg(), OFFER))
        assert (status, b"predictions" in body) == (200, True)
    assert (await wire.answer(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200


@pytest.mark.parametrize("request_of", [post, chunked])
async def test_a_body_behind_an_offer_of_http2_is_never_executed_as_a_request(
    request_of: Callable[[bytes, bytes], bytes], server: Running
) -> None:
    wire = await Wire.open(server)
    assert (await wire.answer(request_of(SMUGGLED, OFFER)))[0] == 415  # as a photo, which it is not
    assert (await wire.answer(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200


async def test_an_offer_in_pieces_is_ignored_too(server: Running) -> None:
    wire = await Wire.open(server)
    request = post(jpeg(), OFFER)
    for at in range(0, len(request), 97):
        wire.writer.write(request[at : at + 97])
        await wire.writer.drain()
        await asyncio.sleep(0)
    assert (await wire.answer())[0] == 200


async def test_who_wants_the_connection_closed_besides_has_it_closed(server: Running) -> None:
    wire = await Wire.open(server)
    assert (await wire.answer(post(jpeg(), b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n")))[0] == 200
    assert await wire.closed()


async def test_many_offers_in_one_piece_end_the_connection_and_not_the_server(server: Running) -> None:
    wire = await Wire.open(server)
    wire.writer.write((b"GET /livez HTTP/1.1\r\nHost: x\r\n" + OFFER + b"\r\n") * 2000)
    async with asyncio.timeout(30):
        assert (await wire.reader.read()).count(b"HTTP/1.1 ") <= 1
    assert (await (await Wire.open(server)).answer(post(jpeg())))[0] == 200


async def test_requests_sent_ahead_are_answered_in_order(server: Running) -> None:
    wire = await Wire.open(server)
    wire.writer.write(post(jpeg()) + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.01)
    wire.writer.write(post(b"no photo") + post(jpeg())[:100])
    wire.writer.write(post(jpeg())[100:])
    assert [(await wire.answer())[0] for _ in range(4)] == [200, 200, 415, 200]


async def test_a_client_that_sends_far_ahead_is_not_read_from(demo: Path) -> None:
    async with held(demo) as (server, engine):
        wire = await Wire.open(server)
        wire.writer.write(post(jpeg()))
        await asyncio.to_thread(engine.entered.wait, 20)
        ahead, sent = chunked(bytes(64 << 10)), 0
        with pytest.raises(TimeoutError):
            while True:  # until all buffers on the way are full
                wire.writer.write(ahead)
                async with asyncio.timeout(1):
                    await wire.writer.drain()
                sent += len(ahead)
                assert sent < 64 << 20
        engine.gate.release(1000)
        assert (await wire.answer())[0] == 200
        await Wire.close_all()


async def test_more_requests_in_one_piece_than_a_client_has_reason_to_send_end_the_connection(server: Running) -> None:
    wire = await Wire.open(server)
    wire.writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    async with asyncio.timeout(30):
        assert (await wire.reader.read()).count(b"HTTP/1.1 200") < 100


async def test_a_client_that_does_not_take_its_answers_is_cut_off(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rest.protocol._UNREAD_S", 0.2)
    wire = await Wire.open(server)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        while True:
            wire.writer.write(b"GET /models/demo/labels HTTP/1.1\r\nHost: x\r\n\r\n")
            await wire.writer.drain()


async def test_connect_is_refused(server: Running) -> None:
    wire = await Wire.open(server)
    assert (await wire.answer(b"CONNECT other:80 HTTP/1.1\r\nHost: other\r\n\r\n"))[0] == 405


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * 70_000,
        b"".join(b"X-%d: x\r\n" % number for number in range(10_000)),
        b"X: " + b"x" * 3_000_000,
    ],
    ids=["one value", "many headers", "one large value"],
)
async def test_headers_above_64_kib_are_refused(head: bytes, server: Running) -> None:
    wire = await Wire.open(server)
    status, problem = await wire.answer(b"GET /livez HTTP/1.1\r\n" + head)
    assert (status, b"headers_too_large" in problem) == (431, True)
    assert await wire.closed()


async def test_headers_that_do_not_end_in_time_are_refused(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.rest.protocol._HEAD_S", 0.2)
    wire = await Wire.open(server)
    status, problem = await wire.answer(b"GET /livez HTTP/1.1\r\nHost:")
    assert (status, b"slow_headers" in problem) == (408, True)


async def test_what_is_no_http_is_told_so(server: Running) -> None:
    status, problem = await (await Wire.open(server)).answer(b"\x16\x03\x01 no HTTP\r\n\r\n")
    assert (status, b"malformed" in problem) == (400, True)


async def test_an_idle_connection_gives_way_to_a_new_one(server: Running) -> None:
    idle = [await Wire.open(server) for _ in range(3)]
    for wire in idle:
        assert (await wire.answer(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
    assert (await (await Wire.open(server)).answer(post(jpeg())))[0] == 200
    assert await idle[0].closed()
    assert (await idle[1].answer(post(jpeg())))[0] == 200


async def test_where_all_connections_are_busy_a_new_one_is_refused_and_they_go_on(demo: Path) -> None:
    async with held(demo, max_connections=2) as (server, engine):
        await server.rest.http.aclose()
        busy = [await Wire.open(server) for _ in range(2)]
        for number, wire in enumerate(busy):
            wire.writer.write(post(jpeg(number)))
        await asyncio.to_thread(engine.entered.wait, 20)
        for wire in busy:
            await wire.writer.drain()
        await until_busy(server, 2)
        status, problem = await (await Wire.open(server)).answer()
        assert (status, b"queue_full" in problem) == (429, True)
        engine.gate.release(9)
        assert [(await wire.answer())[0] for wire in busy] == [200, 200]
        await Wire.close_all()


async def until_busy(server: Running, images: int) -> None:
    while server.registry.activator.unanswered() != images:
        await asyncio.sleep(0)
