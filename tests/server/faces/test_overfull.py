"""Bytes, decode threads and permits: which requests get them when there are too few, over both faces."""

import asyncio
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from bundle import images
from bundle.errors import BadImage
from bundle.images import Pixels
from server.errors import ServingError
from server.host.exit_codes import HUNG
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.scheduling.fair_queue import Caller
from server.service import RequestOptions
from tests.support.faces import Running, held, rpc_outcome, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("face", ["rest", "rpc"])
MIB = 1 << 20
SMALL: dict[str, Any] = {"max_image_bytes": 2 * MIB, "max_request_bytes": 2 * MIB, "receive_bytes": 4 * MIB}
"""A budget of which large requests may have 3 MiB."""


class Stuck:
    """Decoding that ends when told, for the photos named, of which each has a thread of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *photos: bytes) -> None:
        self.begun, self.end = threading.Semaphore(0), threading.Event()
        decode = images.decode

        def decode_or_wait(encoded: bytes, *arguments: Any) -> Pixels:
            if encoded in photos:
                self.begun.release()
                self.end.wait(60)
            return decode(encoded, *arguments)

        monkeypatch.setattr(images, "decode", decode_or_wait)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    stuck = Stuck(monkeypatch, jpeg(100), jpeg(101))
    yield stuck
    stuck.end.set()


async def test_uploads_above_the_budget_are_refused_and_small_photos_are_not(demo: Path) -> None:
    async with running(demo.parents[1], **SMALL) as server:
        uploads = [await asyncio.open_connection("127.0.0.1", server.http_port) for _ in range(2)]
        for _, writer in uploads:
            writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 * MIB))
            writer.write(bytes(MIB + MIB // 2 - 1000))
        await server.until("sesame_receiving_bytes", 3 * MIB - 2000)
        assert not (await server.rest.classify(jpeg())).code
        uploads[0][1].write(bytes(10_000))
        head = await asyncio.wait_for(uploads[0][0].readuntil(b"\r\n\r\n"), 60)
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1\r\n" in head.lower()
        for _, writer in uploads:
            writer.transport.abort()
        await server.until("sesame_receiving_bytes", 0)
        assert await server.metric("sesame_requests_total", 'outcome="queue_full"') == 1


async def test_half_sent_messages_give_way_to_whole_ones(demo: Path) -> None:
    async with running(demo.parents[1], **SMALL) as server:
        half: grpc.aio.StreamUnaryCall[bytes, bytes] = server.rpc.channel.stream_unary(
            "/sesame.v1.ImageClassifier/Classify"
        )()
        await half.wait_for_connection()
        await server.until("sesame_receiving_bytes", 2 * MIB + (64 << 10))
        assert not (await server.rpc.classify(jpeg())).code  # the next largest message would be above 3 MiB
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await half
        assert (rpc_outcome(refused.value).code, refused.value.code()) == (
            "queue_full",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
        await server.until("sesame_receiving_bytes", 0)


async def test_each_open_stream_counts_as_a_largest_image(demo: Path) -> None:
    async with running(demo.parents[1], **SMALL) as server:
        first = server.rpc.stub.ClassifyStream()
        await first.write(pb.ClassifyRequest(image=jpeg(), id="1"))
        assert (await first.read()).id == "1"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await server.rpc.stub.ClassifyStream().read()
        assert rpc_outcome(refused.value).code == "queue_full"
        assert "receive_bytes" in rpc_outcome(refused.value).detail
        first.cancel()
        await server.until("sesame_receiving_bytes", 0)
        again = server.rpc.stub.ClassifyStream()
        await again.write(pb.ClassifyRequest(image=jpeg(), id="2"))
        assert (await again.read()).id == "2"


async def test_a_burst_of_calls_is_answered_or_refused_with_a_code(demo: Path) -> None:
    async with running(demo.parents[1], queue_images=64) as server:
        outcomes = await asyncio.gather(*(server.rpc.classify(jpeg(seed % 7)) for seed in range(1500)))
        assert {outcome.code for outcome in outcomes} <= {"", "queue_full"}
        assert len(outcomes) == await server.metric("sesame_requests_total", 'face="grpc"')


@both
async def test_a_photo_that_decodes_for_ever_is_given_up_and_others_go_on(face: str, demo: Path, stuck: Stuck) -> None:
    async with running(demo.parents[1], decode_threads=3, decode_limit_s=1) as server:
        client = server.client(face)
        outcome = await client.classify(jpeg(100))
        assert (outcome.code, await server.metric("sesame_decodes_given_up_total")) == ("decode_limit", 1)
        assert await server.metric("sesame_decode_threads_lost") == 1
        assert not (await client.classify(jpeg())).code
        assert (await server.rest.http.get("/livez")).status_code == 200
        stuck.end.set()
        await server.until("sesame_decode_threads_lost", 0)


async def test_when_most_decode_threads_are_lost_the_process_ends_to_be_started_again(demo: Path, stuck: Stuck) -> None:
    async with running(demo.parents[1], decode_threads=2, decode_limit_s=1) as server:
        outcomes = await asyncio.gather(*(server.rest.classify(jpeg(seed)) for seed in (100, 101)))
        assert [outcome.code for outcome in outcomes] == ["decode_limit"] * 2
        assert await server.task == HUNG


async def test_photos_that_wait_for_a_decode_thread_are_seen_in_the_metrics(demo: Path, stuck: Stuck) -> None:
    async with running(demo.parents[1], decode_threads=1) as server:
        waiting = [asyncio.create_task(server.rest.classify(jpeg(100)))]
        await asyncio.to_thread(stuck.begun.acquire)
        waiting += [asyncio.create_task(server.rest.classify(jpeg(seed))) for seed in (1, 2)]
        await server.until("sesame_decode_queue_images", 2)
        assert await server.metric("sesame_drain_seconds") > 0
        stuck.end.set()
        assert [(await each).code for each in waiting] == [""] * 3


async def test_bulk_photos_are_decoded_after_interactive_ones(demo: Path, stuck: Stuck) -> None:
    ended: list[str] = []

    async def classify(server: Running, seed: int, priority: str) -> None:
        response = await server.rest.http.post("/classify", content=jpeg(seed), params={"priority": priority})
        assert response.status_code == 200
        ended.append(priority)

    async with held(demo, decode_threads=1, max_batch=1) as (server, engine):
        engine.closed = False
        first = asyncio.create_task(server.rest.classify(jpeg(100)))
        await asyncio.to_thread(stuck.begun.acquire)
        tasks = [asyncio.create_task(classify(server, seed, "bulk")) for seed in range(3)]
        await server.until("sesame_decode_queue_images", 3)
        tasks += [asyncio.create_task(classify(server, seed, "interactive")) for seed in range(3, 6)]
        await server.until("sesame_decode_queue_images", 6)
        stuck.end.set()
        await asyncio.gather(first, *tasks)
    assert ended == ["interactive"] * 3 + ["bulk"] * 3


async def test_streams_of_one_connection_leave_places_to_others(demo: Path) -> None:
    async with held(demo, queue_images=16, max_images=16) as (server, engine):
        streams = [server.rpc.stub.ClassifyStream() for _ in range(4)]
        for number, stream in enumerate(streams):
            for photo in range(8):
                await stream.write(pb.ClassifyRequest(image=jpeg(10 * number + photo)))
        await server.until("sesame_permits_taken", 8)
        others = [asyncio.create_task(server.rest.classify(jpeg(200 + seed))) for seed in range(8)]
        await server.until("sesame_permits_taken", 16)
        engine.gate.release(1000)
        assert [(await each).code for each in others] == [""] * 8
        for stream in streams:
            for _ in range(8):
                assert (await stream.read()).HasField("answer")


async def test_a_large_body_is_taken_apart_like_a_small_one(demo: Path) -> None:
    padding = bytes(2 * MIB)  # behind the end of the picture, where decoders do not look
    async with running(demo.parents[1]) as server:
        http: httpx.AsyncClient = server.rest.http
        small = (await http.post("/classify", content=jpeg())).json()["predictions"]
        raw = await http.post("/classify", content=jpeg() + padding)
        form = await http.post("/classify", files={"image": ("a.jpg", jpeg() + padding)})
        assert raw.json()["predictions"] == form.json()["results"][0]["predictions"] == small


async def test_an_answer_with_many_labels_is_whole(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        files = [("image", ("a.jpg", jpeg()))] * 8
        answer = await server.rest.http.post("/classify", files=files, params={"top_k": 200})
        assert [len(result["predictions"]) for result in answer.json()["results"]] == [200] * 8


@pytest.mark.parametrize("what", ["no photo", "corrupt", "decoded in vain"])
async def test_a_refused_photo_is_let_go_of_at_once_and_not_when_the_garbage_collector_comes(
    what: str, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise BadImage("no")

    photo = {"no photo": b"a" * 1000, "corrupt": jpeg()[:-200], "decoded in vain": jpeg(5)}[what]
    async with running(demo.parents[1]) as server:
        if what == "decoded in vain":
            monkeypatch.setattr(images, "decode", fail)
        classifier = server.app.parts.rest._classify._classifier
        options = RequestOptions(classifier.deadline_s(None), Caller())
        await classifier.classify([photo], options)
        for _ in range(3):  # the loop's own handles
            await asyncio.sleep(0)
        gc.collect()
        before = sys.getrefcount(photo)
        gc.disable()
        try:
            for _ in range(5):
                (outcome,) = (await classifier.classify([photo], options)).outcomes
                assert isinstance(outcome, ServingError)
            await asyncio.sleep(0.05)
            assert sys.getrefcount(photo) <= before
        finally:
            gc.enable()
