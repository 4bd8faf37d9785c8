"""Many photos over one call."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from server.host.exit_codes import STOPPED
from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.support.faces import held, rpc_outcome, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio


async def requests(photos: Iterable[bytes], sent: list[int] | None = None) -> AsyncIterator[pb.ClassifyRequest]:
    for number, photo in enumerate(photos):
        yield pb.ClassifyRequest(image=photo, id=str(number), priority=pb.BULK if number % 2 else pb.INTERACTIVE)
        if sent is not None:
            sent.append(number)


async def test_each_photo_has_its_own_answer_and_a_bad_one_ends_nothing(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        photos = [jpeg(number) for number in range(40)]
        photos[7], photos[8] = b"GIF89a", b""
        answers = {answer.id: answer async for answer in server.rpc.stub.ClassifyStream(requests(photos))}
        assert sorted(map(int, answers)) == list(range(40))
        assert (answers["7"].error.code, answers["8"].error.code) == ("unsupported_type", "malformed")
        for number in (0, 1, 39):
            alone = await server.rpc.stub.Classify(pb.ClassifyRequest(image=photos[number]))
            streamed = answers[str(number)].answer
            assert [best.index for best in streamed.predictions] == [best.index for best in alone.predictions]
        assert await server.metric("sesame_permits_taken") == 0


async def test_a_stream_is_not_read_faster_than_it_is_answered(demo: Path) -> None:
    async with held(demo, max_images=4) as (server, engine):
        sent: list[int] = []
        call = server.rpc.stub.ClassifyStream(requests([jpeg(seed, 400, 400) * 8 for seed in range(500)], sent))
        await server.until("sesame_permits_taken", 4)
        for _ in range(30):
            assert await server.metric("sesame_permits_taken") <= 4
        assert len(sent) < 450  # the rest is held back on the client's side
        engine.gate.release(1000)
        assert len([answer async for answer in call]) == len(sent) == 500


async def test_a_stream_waits_for_room_where_a_request_is_refused(demo: Path) -> None:
    async with held(demo, queue_images=4, max_images=4) as (server, engine):
        others = [asyncio.create_task(server.rpc.classify(jpeg(seed))) for seed in range(4)]
        await server.until("sesame_permits_taken", 4)
        assert (await server.rpc.classify(jpeg(9))).code == "queue_full"
        call = server.rpc.stub.ClassifyStream(requests([jpeg(seed) for seed in range(10, 20)]))
        reading = asyncio.create_task(all_of(call))
        engine.gate.release(1000)
        assert all(answer.HasField("answer") for answer in await reading)
        assert [outcome.code for outcome in await asyncio.gather(*others)] == [""] * 4


async def test_a_stream_that_is_cancelled_takes_its_images_along(demo: Path) -> None:
    async with held(demo) as (server, engine):
        call = server.rpc.stub.ClassifyStream(requests([jpeg(seed) for seed in range(20)]))
        await server.until("sesame_permits_taken", 20)
        call.cancel()
        await server.until("sesame_images_total", 20)
        engine.gate.release(1)
        await server.until("sesame_permits_taken", 0)
        assert await server.metric("sesame_images_total", 'outcome="gone"') == 20


async def test_a_server_that_leaves_answers_what_it_has_read_and_ends_the_stream(demo: Path) -> None:
    async with held(demo) as (server, engine):
        stop = asyncio.Event()

        async def asking() -> AsyncIterator[pb.ClassifyRequest]:
            for seed in range(6):
                yield pb.ClassifyRequest(image=jpeg(seed), id=str(seed))
            await stop.wait()

        call = server.rpc.stub.ClassifyStream(asking())
        await server.until("sesame_permits_taken", 6)
        server.app.leave()
        engine.gate.release(1000)
        answers = [await call.read() for _ in range(6)]
        assert sorted(answer.id for answer in answers) == list("012345")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert rpc_outcome(ended.value).code == "draining"
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await server.task == STOPPED
        stop.set()


async def all_of(call: AsyncIterable[pb.StreamResponse]) -> list[pb.StreamResponse]:
    return [answer async for answer in call]


async def test_a_message_that_is_none_ends_the_call_with_an_error_and_not_as_if_all_were_well(demo: Path) -> None:
    async with held(demo) as (server, engine):
        call: grpc.aio.StreamStreamCall[bytes, bytes] = server.rpc.channel.stream_stream(
            "/sesame.v1.ImageClassifier/ClassifyStream"
        )()
        await call.write(pb.ClassifyRequest(image=jpeg()).SerializeToString())
        await server.until("sesame_permits_taken", 1)
        await call.write(b"\xff\xff this is no message")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            async for _ in call:
                pass
        assert failed.value.code() is not grpc.StatusCode.OK
        engine.gate.release(9)
        await server.until("sesame_permits_taken", 0)


async def collect(stream: AsyncIterator[pb.StreamResponse]) -> list[pb.StreamResponse]:
    return [answer async for answer in stream]


async def test_streams_that_wait_for_room_all_end_when_the_server_leaves(demo: Path) -> None:
    async with held(demo, queue_images=4, max_images=4, drain_limit_s=20) as (server, engine):
        photos = [[jpeg(10 * caller + number) for number in range(4)] for caller in range(3)]
        streams = [server.rpc.stub.ClassifyStream(requests(some)) for some in photos]
        collected = [asyncio.create_task(collect(stream)) for stream in streams]
        while await server.metric("sesame_permits_taken") < 2:  # 2 or 3 of 4, by how many bulk ones come first
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        server.app.leave()
        await asyncio.sleep(0.1)
        engine.gate.release(100)
        began_s = time.monotonic()
        assert await server.task == STOPPED
        assert time.monotonic() - began_s < 10  # and not the whole of the limit
        await asyncio.gather(*collected, return_exceptions=True)


async def test_a_client_that_watches_health_does_not_hold_up_the_end(demo: Path) -> None:
    async with running(demo.parents[1], drain_limit_s=20) as server:
        watching = server.rpc.health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        server.app.leave()
        began_s = time.monotonic()
        assert await server.task == STOPPED
        assert time.monotonic() - began_s < 10
