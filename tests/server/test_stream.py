"""Many photos over one call."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest

from server.app import STOPPED
from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.pictures import jpeg
from tests.server.faces import held, rpc_outcome, running

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
        assert await server.metric("sesame_places_taken") == 0


async def test_a_stream_is_not_read_faster_than_it_is_answered(demo: Path) -> None:
    async with held(demo, max_images=4) as (server, engine):
        sent: list[int] = []
        call = server.rpc.stub.ClassifyStream(requests([jpeg(seed, 400, 400) * 8 for seed in range(500)], sent))
        await server.until("sesame_places_taken", 4)
        for _ in range(30):
            assert await server.metric("sesame_places_taken") <= 4
        assert len(sent) < 450  # the rest is held back on the client's side
        engine.gate.release(1000)
        assert len([answer async for answer in call]) == len(sent) == 500


async def test_a_stream_waits_for_room_where_a_request_is_refused(demo: Path) -> None:
    async with held(demo, queue_images=4, max_images=4) as (server, engine):
        others = [asyncio.create_task(server.rpc.classify(jpeg(seed))) for seed in range(4)]
        await server.until("sesame_places_taken", 4)
        assert (await server.rpc.classify(jpeg(9))).code == "queue_full"
        call = server.rpc.stub.ClassifyStream(requests([jpeg(seed) for seed in range(10, 20)]))
        reading = asyncio.create_task(all_of(call))
        engine.gate.release(1000)
        assert all(answer.HasField("answer") for answer in await reading)
        assert [outcome.code for outcome in await asyncio.gather(*others)] == [""] * 4


async def test_a_stream_that_is_cancelled_takes_its_images_along(demo: Path) -> None:
    async with held(demo) as (server, engine):
        call = server.rpc.stub.ClassifyStream(requests([jpeg(seed) for seed in range(20)]))
        await server.until("sesame_places_taken", 20)
        call.cancel()
        await server.until("sesame_images_total", 20)
        engine.gate.release(1)
        await server.until("sesame_places_taken", 0)
        assert await server.metric("sesame_images_total", 'outcome="gone"') == 20


async def test_a_server_that_leaves_answers_what_it_has_read_and_ends_the_stream(demo: Path) -> None:
    async with held(demo) as (server, engine):
        stop = asyncio.Event()

        async def asking() -> AsyncIterator[pb.ClassifyRequest]:
            for seed in range(6):
                yield pb.ClassifyRequest(image=jpeg(seed), id=str(seed))
            await stop.wait()

        call = server.rpc.stub.ClassifyStream(asking())
        await server.until("sesame_places_taken", 6)
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


async def all_of(call: "grpc.aio.StreamStreamCall") -> list[pb.StreamResponse]:
    return [answer async for answer in call]
