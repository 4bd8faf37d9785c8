"""A server that leaves: connections close after their answers, unfinished uploads are refused, slow readers cut off."""

import asyncio
from pathlib import Path

import grpc
import httpx
import pytest

from server.host.exit_codes import STOPPED
from tests.support.faces import Running, held, rpc_outcome, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
HEAD = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


async def unfinished(server: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An upload of which the first bytes have arrived."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(HEAD + b"some of it")
    await server.until("sesame_receiving_bytes", len(b"some of it"))
    return reader, writer


async def test_while_leaving_every_answer_closes_its_connection_and_is_no_refusal(demo: Path) -> None:
    async with running(demo.parents[1], drain_delay_s=3) as server:
        url = f"http://127.0.0.1:{server.http_port}"
        async with httpx.AsyncClient(base_url=url, timeout=60) as kept:
            assert "connection" not in (await kept.post("/classify", content=jpeg())).headers
            server.app.leave()
            while (await server.rest.http.get("/readyz")).status_code == 200:
                await asyncio.sleep(0)
            for _ in range(2):
                answer = await kept.post("/classify", content=jpeg())
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert await server.task == STOPPED


async def test_an_answer_that_is_under_way_when_leaving_begins_closes_its_connection_too(demo: Path) -> None:
    async with held(demo) as (server, engine):
        answering = asyncio.create_task(server.rest.http.post("/classify", content=jpeg()))
        await asyncio.to_thread(engine.entered.wait, 20)
        server.app.leave()
        await asyncio.sleep(0)
        engine.gate.release(9)
        answer = await answering
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")


async def test_an_unfinished_upload_is_refused_at_once_when_the_server_drains(demo: Path) -> None:
    async with running(demo.parents[1], drain_limit_s=3600) as server:
        reader, writer = await unfinished(server)
        server.app.leave()
        async with asyncio.timeout(60):  # far below the limit, and above what any machine needs
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b'"draining"' in await reader.read()
            assert await server.task == STOPPED
        writer.close()


async def test_an_unfinished_message_is_refused_too(demo: Path) -> None:
    async with running(demo.parents[1], drain_limit_s=3600) as server:
        call: grpc.aio.StreamUnaryCall[bytes, bytes] = server.rpc.channel.stream_unary(
            "/sesame.v1.ImageClassifier/Classify"
        )()
        await call.wait_for_connection()
        await server.until("sesame_receiving_bytes", 20 * (1 << 20) + (64 << 10))
        server.app.leave()
        async with asyncio.timeout(60):
            with pytest.raises(Exception) as refused:
                await call
            assert rpc_outcome(refused.value).code == "draining"  # type: ignore[arg-type]
            assert await server.task == STOPPED


async def test_a_client_that_never_reads_does_not_hold_up_the_end(demo: Path) -> None:
    async with running(demo.parents[1], drain_limit_s=3600) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port, limit=1)
        request = b"GET /models/demo/labels HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(2000):  # answers of 13 kB each: more than all buffers on the way hold
            writer.write(request)
        await server.rest.http.get("/livez")
        server.app.leave()
        async with asyncio.timeout(60):
            assert await server.task == STOPPED
        writer.transport.abort()
        del reader


async def test_images_in_hand_are_answered_though_an_upload_never_ends(demo: Path) -> None:
    async with held(demo, drain_limit_s=3600) as (server, engine):
        _, writer = await unfinished(server)
        accepted = [asyncio.create_task(server.rest.classify(jpeg(seed))) for seed in range(3)]
        accepted.append(asyncio.create_task(server.rpc.classify(jpeg(9))))
        await server.until("sesame_permits_taken", 4)
        server.app.leave()
        engine.gate.release(9)
        assert [(await each).code for each in accepted] == [""] * 4
        async with asyncio.timeout(60):
            assert await server.task == STOPPED
        writer.transport.abort()
