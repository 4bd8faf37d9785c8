"""Each request has one line in the log, the same fields over both faces, in text and in JSON."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.exchange import Exchange
from server.host.log_formats import JsonFormat
from server.pb.inference import grpc_service_pb2_grpc as oip_grpc
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.request_line import RequestLine
from server.trace import Trace
from tests.server.openinference.test_rpc import photos
from tests.support.faces import Running, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio

CLASSIFY = "sesame.v1.ImageClassifier/Classify"
TIMES = {"receive_ms", "decode_ms", "queue_ms", "infer_ms", "respond_ms", "total_ms"}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WORD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]+)')


@pytest.fixture(scope="module")
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


class Lines:
    """The lines of requests, since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "server.access")
        self._caplog = caplog

    async def next(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many, and no more. Each is the object of its JSON line, and says the same as text."""
        while len(self._records()) < count:
            await asyncio.sleep(0.001)
        records = self._records()
        assert len(records) == count
        self._caplog.clear()
        return [self._fields(record) for record in records]

    def _records(self) -> list[logging.LogRecord]:
        return [record for record in self._caplog.records if record.name == "server.access"]

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        text, line = record.getMessage(), JsonFormat("")(record)
        assert text.isprintable()
        assert line.count("\n") == 1
        found: dict[str, Any] = json.loads(line)
        said = {name: json.loads(word) if word[0] == '"' else word for name, word in WORD.findall(text)}
        heads = ("time", "level", "logger", "message", "face", "method", "path", "status")
        assert said == {name: str(value) for name, value in found.items() if name not in heads}
        return found


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    return Lines(caplog)


def check_answered(line: dict[str, Any], **expected: object) -> None:
    """A line of one photo that was answered."""
    always = {"client": "127.0.0.1", "code": "ok", "model": "demo", "version": "1", "images": 1, "failed": 0}
    assert line.items() >= (always | expected).items()
    assert line.keys() >= TIMES
    assert line["batch"] >= 1
    assert line["trace_id"] == PARENT.split("-")[1]
    stages = [line[name] for name in TIMES - {"total_ms"}]
    assert all(0 < stage_ms < line["total_ms"] for stage_ms in stages)


async def test_a_photo_over_rest(server: Running, lines: Lines) -> None:
    headers = {"X-Request-Id": "r-1", "traceparent": PARENT}
    await server.rest.http.post("/classify?model=demo", content=jpeg(1), headers=headers)
    (line,) = await lines.next()
    check_answered(line, id="r-1", face="rest", method="POST", path="/classify", status="200")
    assert line["message"] == "POST /classify 200"


async def test_a_photo_over_grpc(server: Running, lines: Lines) -> None:
    metadata = (("x-request-id", "r-2"), ("traceparent", PARENT))
    call = server.rpc.stub.Classify(pb.ClassifyRequest(image=jpeg(2)), metadata=metadata)
    await call
    (line,) = await lines.next()
    check_answered(line, id="r-2", face="grpc", method=CLASSIFY, status="OK")
    assert "path" not in line
    assert dict(await call.trailing_metadata())["x-request-id"] == "r-2"


async def test_the_open_inference_protocol(server: Running, lines: Lines) -> None:
    stub = oip_grpc.GRPCInferenceServiceStub(server.rpc.channel)  # type: ignore[no-untyped-call]
    await stub.ModelInfer(photos(jpeg(3), jpeg(4)), metadata=(("traceparent", PARENT),))
    (line,) = await lines.next()
    check_answered(line, method="inference.GRPCInferenceService/ModelInfer", images=2)
    await server.rest.http.post("/v2/models/demo/infer", json={"inputs": []})
    (line,) = await lines.next()
    assert (line["status"], line["code"], line["path"]) == ("400", "malformed", "/v2/models/demo/infer")


async def test_each_photo_of_a_stream_has_a_line(server: Running, lines: Lines) -> None:
    requests = [pb.ClassifyRequest(image=jpeg(5)), pb.ClassifyRequest(image=b"no photo")]
    stream = server.rpc.stub.ClassifyStream(iter(requests), metadata=(("x-request-id", "s"), ("traceparent", PARENT)))
    assert len([answer async for answer in stream]) == 2
    by_id = {line["id"]: line for line in await lines.next(2)}
    assert by_id["s.1"]["code"] == "ok"
    assert (by_id["s.2"]["code"], by_id["s.2"]["status"]) == ("unsupported_type", "INVALID_ARGUMENT")
    assert by_id["s.1"]["method"] == "sesame.v1.ImageClassifier/ClassifyStream"
    assert dict(await stream.trailing_metadata())["x-request-id"] == "s"


async def test_errors_over_both_faces(server: Running, lines: Lines) -> None:
    await server.rest.http.post("/classify?model=none", content=jpeg())
    (line,) = await lines.next()
    assert (line["status"], line["code"], line["images"]) == ("404", "unknown_model", 1)
    assert "model" not in line  # what the client calls it may be anything
    await server.rest.http.get("/nowhere")
    (line,) = await lines.next()
    assert (line["status"], line["code"]) == ("404", "unknown_path")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await server.rpc.stub.Classify(pb.ClassifyRequest(), metadata=(("x-request-id", "e"),))
    (line,) = await lines.next()
    assert (line["id"], line["status"], line["code"]) == ("e", "INVALID_ARGUMENT", "malformed")
    trailers = dict(raised.value.trailing_metadata() or ())
    assert (trailers["x-request-id"], trailers["sesame-code"]) == ("e", "malformed")


async def test_some_photos_of_a_request_may_fail(server: Running, lines: Lines) -> None:
    files = [("image", jpeg(6)), ("image", b"no photo")]
    answer = await server.rest.http.post("/classify", files=files)
    assert answer.status_code == 200
    (line,) = await lines.next()
    assert (line["code"], line["images"], line["failed"]) == ("ok", 2, 1)


async def test_a_client_that_leaves(demo: Path, lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    async with held(demo) as (server, _):
        call = server.rpc.stub.Classify(pb.ClassifyRequest(image=jpeg()))
        await server.until("sesame_permits_taken", 1)
        caplog.clear()  # of the probes of the start
        call.cancel()
        (line,) = await lines.next()
    assert (line["status"], line["code"], line["failed"]) == ("CANCELLED", "gone", 1)


async def test_probes_are_of_level_debug_while_all_is_well(server: Running, lines: Lines) -> None:
    await server.rest.http.get("/livez")
    await server.rpc.stub.ListModels(pb.ListModelsRequest())
    await server.rest.http.get("/models/none")
    (line,) = await lines.next()
    assert line["path"] == "/models/none"


@pytest.mark.parametrize("unfit", ["", "x" * 129, "white space", 'a"b', "<script>"])
async def test_an_unfit_id_is_replaced(unfit: str, server: Running, lines: Lines) -> None:
    call = server.rpc.stub.Classify(pb.ClassifyRequest(image=jpeg()), metadata=(("x-request-id", unfit),))
    await call
    (line,) = await lines.next()
    assert re.fullmatch("[0-9a-f]{32}", line["id"])
    assert dict(await call.trailing_metadata())["x-request-id"] == line["id"]


async def test_no_photo_is_in_a_line(server: Running, lines: Lines) -> None:
    photo = jpeg(7)
    await server.rest.http.post("/classify", content=photo)
    await server.rpc.classify(photo)
    for line in await lines.next(2):
        assert len(json.dumps(line)) < 1000
        assert "JFIF" not in json.dumps(line)


TEXT = st.text(st.characters(codec=None))


@given(TEXT, TEXT, TEXT, TEXT)
def test_whatever_a_client_says_is_a_value_and_no_more(path: str, address: str, state: str, model: str) -> None:
    exchange = Exchange(
        "id",
        address,
        trace=Trace(1, 2, state=state),
        face="rest",
        method="POST",
        path=path,
        model=model,
        status="200",
    )
    text = str(RequestLine(exchange))
    assert text.isascii()
    assert text.isprintable()
    names = [name for name, _ in WORD.findall(text[text.index(" total_ms=") :])]
    given = [name for name, value in (("client", address), ("model", model)) if value]
    assert sorted(names) == sorted(["total_ms", "id", "trace_id", "span_id", *given])
