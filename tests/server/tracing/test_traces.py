"""One process: the spans of a request, as a collector gets them."""

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from bundle.files import read
from server.pb.inference import grpc_service_pb2 as oip
from server.pb.inference import grpc_service_pb2_grpc as oip_grpc
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.trace import Trace
from tests.conftest import REPOSITORY
from tests.server.openinference.test_rpc import photos
from tests.support.collector import Collector, Seen, check_one_image, collector, named
from tests.support.faces import Running, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio

CLASSIFY = "sesame.v1.ImageClassifier/Classify"
STAGES = ("receive", "decode", "respond")


@pytest.fixture(scope="module")
def there() -> Iterator[Collector]:
    with collector() as there:
        yield there


@pytest.fixture(scope="module")
async def server(demo: Path, there: Collector) -> AsyncIterator[Running]:
    async with running(demo.parents[1], otlp_endpoint=there.url) as server:
        yield server


class Caller:
    """A client's span, and what the server made of it."""

    def __init__(self, there: Collector, sampled: bool = True) -> None:
        self._there = there
        self._trace = dataclasses.replace(Trace.begun(), recorded=sampled)
        self.trace_id = self._trace.trace_id.to_bytes(16)
        self.span_id = self._trace.span_id.to_bytes(8)
        self.headers = {"traceparent": self._trace.header(), "tracestate": "theirs=1"}
        self.metadata = tuple(self.headers.items())

    async def spans(self, *names: str) -> list[Seen]:
        return await self._there.until_named(*names, trace_id=self.trace_id)


async def test_classify_over_rest(server: Running, there: Collector) -> None:
    caller = Caller(there)
    answer = await server.rest.http.post("/classify", content=jpeg(1), headers={**caller.headers, "X-Request-Id": "r1"})
    spans = await caller.spans("POST /classify", "batch")
    check_one_image(spans, "POST /classify", caller.span_id, STAGES)
    for wrong in (spans[:-1], spans[1:], [*spans, spans[0]]):
        with pytest.raises((AssertionError, ValueError)):
            check_one_image(wrong, "POST /classify", caller.span_id, STAGES)
    with pytest.raises(AssertionError):
        check_one_image(spans, "POST /classify", spans[0].id, STAGES)
    whole = named(spans, "POST /classify")
    assert answer.headers["traceresponse"] == f"00-{caller.trace_id.hex()}-{whole.id.hex()}-01"
    assert whole.span.trace_state == "theirs=1"
    assert whole.attributes == {
        "client.address": "127.0.0.1",
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/classify",
        "url.path": "/classify",
        "sesame.request_id": "r1",
        "sesame.model": "demo",
        "sesame.version": "1",
        "sesame.images": 1,
        "sesame.batch.images": 1,
    }
    assert named(spans, "batch").attributes["sesame.batch.reason"] == "idle"
    assert all(seen.span.status.code == Status.STATUS_CODE_UNSET for seen in spans)


async def test_classify_over_grpc(server: Running, there: Collector) -> None:
    caller = Caller(there)
    call = server.rpc.stub.Classify(pb.ClassifyRequest(image=jpeg(2)), metadata=caller.metadata)
    await call
    spans = await caller.spans(CLASSIFY, "batch")
    check_one_image(spans, CLASSIFY, caller.span_id, STAGES)
    whole = named(spans, CLASSIFY)
    told = dict(await call.trailing_metadata())
    assert told["traceresponse"] == f"00-{caller.trace_id.hex()}-{whole.id.hex()}-01"
    expected = {"rpc.system.name": "grpc", "rpc.method": CLASSIFY, "rpc.response.status_code": "OK"}
    assert expected.items() <= whole.attributes.items()


async def test_the_open_inference_protocol_over_both_faces(server: Running, there: Collector, demo: Path) -> None:
    rest, rpc = Caller(there), Caller(there)
    pixels = read(demo).probe.pixels[:1]
    given = {"name": "pixels", "datatype": "UINT8", "shape": pixels.shape, "data": pixels.ravel().tolist()}
    body = {"inputs": [given]}
    answer = await server.rest.http.post("/v2/models/demo/infer", json=body, headers=rest.headers)
    assert answer.status_code == 200
    name = "POST /v2/models/{name}/infer"
    check_one_image(await rest.spans(name, "batch"), name, rest.span_id, ("receive", "respond"))
    stub = oip_grpc.GRPCInferenceServiceStub(server.rpc.channel)  # type: ignore[no-untyped-call]
    assert isinstance(await stub.ModelInfer(photos(jpeg(3)), metadata=rpc.metadata), oip.ModelInferResponse)
    name = "inference.GRPCInferenceService/ModelInfer"
    check_one_image(await rpc.spans(name, "batch"), name, rpc.span_id, STAGES)


async def test_each_photo_of_a_stream_has_a_span(server: Running, there: Collector) -> None:
    caller = Caller(there)
    requests = [pb.ClassifyRequest(image=jpeg(seed)) for seed in (4, 5)]
    stream = server.rpc.stub.ClassifyStream(iter([*requests, pb.ClassifyRequest()]), metadata=caller.metadata)
    assert len([answer async for answer in stream]) == 3
    name = "sesame.v1.ImageClassifier/ClassifyStream"
    spans = await there.until(
        lambda spans: [sum(seen.name == each for seen in spans) for each in (name, "infer")] == [3, 2],
        caller.trace_id,
    )
    wholes = [seen for seen in spans if seen.name == name]
    assert {seen.parent for seen in wholes} == {caller.span_id}
    assert {seen.parent for seen in spans if seen.name == "infer"} < {seen.id for seen in wholes}
    assert [seen.attributes.get("error.type") for seen in wholes].count("malformed") == 1


async def test_a_batch_links_all_its_images_and_each_links_its_batch(demo: Path, there: Collector) -> None:
    async with held(demo, otlp_endpoint=there.url) as (server, engine):
        first, *others = [Caller(there) for _ in range(4)]

        def ask(caller: Caller, seed: int) -> "asyncio.Task[object]":
            return asyncio.create_task(server.rest.http.post("/classify", content=jpeg(seed), headers=caller.headers))

        asked = [ask(first, 0)]
        await asyncio.to_thread(engine.entered.wait)
        asked += [ask(caller, seed) for seed, caller in enumerate(others, 1)]
        await server.until("sesame_queue_images", 3)
        engine.gate.release(1000)
        await asyncio.gather(*asked)
        infers = [named(await caller.spans("infer"), "infer") for caller in others]
    (links,) = {tuple(infer.links) for infer in infers}
    (batch,) = [seen for seen in there.spans() if seen.id == links[0]]
    assert sorted(batch.links) == sorted(infer.id for infer in infers)
    assert batch.parent in batch.links
    assert batch.attributes["sesame.batch.images"] == 3


async def test_an_equal_photo_links_the_request_that_it_was_computed_for(demo: Path, there: Collector) -> None:
    async with held(demo, otlp_endpoint=there.url) as (server, engine):
        first, second = Caller(there), Caller(there)
        ask = [
            asyncio.create_task(server.rest.http.post("/classify", content=jpeg(9), headers=caller.headers))
            for caller in (first, second)
        ]
        await server.until("sesame_permits_taken", 2)
        engine.gate.release(1000)
        await asyncio.gather(*ask)
        wholes = [named(await caller.spans("POST /classify"), "POST /classify") for caller in (first, second)]
        computed = [whole for whole in wholes if not whole.links]
        assert [whole.links for whole in wholes if whole.links] == [[computed[0].id]]
        await there.until_named("infer", trace_id=computed[0].span.trace_id)


async def test_errors_are_told_and_the_clients_own_are_no_faults(server: Running, there: Collector) -> None:
    rest, rpc = Caller(there), Caller(there)
    assert (await server.rest.http.post("/classify", content=b"x", headers=rest.headers)).status_code == 415
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await server.rpc.stub.Classify(pb.ClassifyRequest(image=jpeg(), model="none"), metadata=rpc.metadata)
    assert dict(raised.value.trailing_metadata() or ())["traceresponse"].startswith(f"00-{rpc.trace_id.hex()}")
    whole = named(await rest.spans("POST /classify"), "POST /classify")
    assert (whole.attributes["error.type"], whole.attributes["http.response.status_code"]) == ("unsupported_type", 415)
    assert whole.span.status.code == Status.STATUS_CODE_UNSET
    whole = named(await rpc.spans(CLASSIFY), CLASSIFY)
    assert (whole.attributes["error.type"], whole.attributes["rpc.response.status_code"]) == (
        "unknown_model",
        "NOT_FOUND",
    )


async def test_an_engine_that_fails_is_a_fault_of_the_request_and_of_the_batch(demo: Path, there: Collector) -> None:
    async with held(demo, otlp_endpoint=there.url) as (server, engine):
        engine.failing = True
        engine.gate.release(1000)
        caller = Caller(there)
        assert (await server.rest.http.post("/classify", content=jpeg(), headers=caller.headers)).status_code == 500
        spans = await caller.spans("POST /classify", "batch")
    for name in ("POST /classify", "infer", "batch"):
        status = named(spans, name).span.status
        assert (status.code, status.message) == (Status.STATUS_CODE_ERROR, "engine_failed")


async def test_a_caller_that_does_not_sample_is_not_recorded(server: Running, there: Collector) -> None:
    silent, loud = Caller(there, sampled=False), Caller(there)
    answer = await server.rest.http.post("/classify", content=jpeg(20), headers=silent.headers)
    assert "traceresponse" not in answer.headers
    await server.rest.http.post("/classify", content=jpeg(21), headers=loud.headers)
    await loud.spans("POST /classify")
    assert not there.spans(silent.trace_id)


@pytest.mark.parametrize(
    "hostile",
    ["", "00", "0" * 55, "00-" + "f" * 60_000, "00-" + "0" * 32 + "-1234567890abcdef-01", "%s%n", "\u00fe\u00ff"],
)
async def test_a_traceparent_that_is_none_begins_a_new_trace(hostile: str, server: Running, there: Collector) -> None:
    headers = [(b"traceparent", hostile.encode("latin-1")), (b"x-request-id", b"hostile")]
    answer = await server.rest.http.post("/classify", content=jpeg(22), headers=headers)
    if answer.status_code == 431:
        return
    trace_id = bytes.fromhex(answer.headers["traceresponse"].split("-")[1])
    spans = await there.until_named("POST /classify", trace_id=trace_id)
    assert named(spans, "POST /classify").parent == b""


async def test_probes_begin_no_trace(server: Running) -> None:
    assert "traceresponse" not in (await server.rest.http.get("/livez")).headers
    call = server.rpc.stub.ListModels(pb.ListModelsRequest())
    await call
    assert "traceresponse" not in dict(await call.trailing_metadata())


async def test_a_share_of_none_leaves_the_choice_to_callers(demo: Path, there: Collector) -> None:
    async with running(demo.parents[1], otlp_endpoint=there.url, trace_share=0.0) as server:
        assert "traceresponse" not in (await server.rest.http.post("/classify", content=jpeg())).headers
        caller = Caller(there)
        await server.rest.http.post("/classify", content=jpeg(1), headers=caller.headers)
        await caller.spans("POST /classify", "batch")


async def test_what_waits_is_sent_before_the_server_ends(demo: Path, there: Collector) -> None:
    caller = Caller(there)
    async with running(demo.parents[1], otlp_endpoint=there.url) as server:
        await server.rest.http.post("/classify", content=jpeg(30), headers=caller.headers)
    assert {"POST /classify", "batch"} <= {seen.name for seen in there.spans(caller.trace_id)}


async def test_an_explanation_has_a_span(server: Running, there: Collector) -> None:
    caller = Caller(there)
    answer = await server.rest.http.post("/explain", content=jpeg(31), headers=caller.headers)
    assert answer.status_code == 200
    spans = await caller.spans("POST /explain", "explain")
    whole, explain = named(spans, "POST /explain"), named(spans, "explain")
    assert explain.parent == whole.id
    assert explain.within(whole)


async def test_a_collector_that_is_not_there_changes_no_answer(demo: Path) -> None:
    async with running(demo.parents[1], otlp_endpoint="http://127.0.0.1:1") as server:
        answers = [await server.rest.classify(jpeg(seed)) for seed in range(3)]
        assert [answer.code for answer in answers] == [""] * 3
        while await server.metric("sesame_trace_records_total", 'outcome="dropped"') < 6:
            await asyncio.sleep(0.01)
        assert await server.metric("sesame_trace_records_total", 'outcome="sent"') == 0


_OFF = """
import asyncio, sys
from pathlib import Path
from tests.support.faces import running
from tests.support.pictures import jpeg

async def serve():
    async with running(Path("model_repository")) as server:
        headers = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
        assert (await server.rest.http.post("/classify", content=jpeg(), headers=headers)).status_code == 200
        assert (await server.rpc.classify(jpeg())).code == ""

asyncio.run(serve())
print([name for name in sys.modules if name.startswith(("opentelemetry.proto", "server.tracing"))])
"""


def test_without_a_collector_nothing_of_it_is_loaded() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _OFF], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=True
    )
    assert ended.stdout == "[]\n"
