"""What keys mean to clients, over both faces, in one process and over two fronts."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.openinference.tensors import from_elements
from server.pb.inference import grpc_service_pb2 as v2
from server.pb.inference import grpc_service_pb2_grpc as v2_grpc
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from tests.server.keys.conftest import SLOW, Served
from tests.support import keys
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio

Metadata = tuple[tuple[str, str], ...]
PHOTO = jpeg()
_TENSOR = v2.ModelInferRequest.InferInputTensor


def metadata(name: str) -> Metadata:
    return (("authorization", f"Bearer {keys.secret(name)}"),)


def infer(*photos: bytes, model: str = "demo") -> v2.ModelInferRequest:
    given = _TENSOR(name="image", datatype="BYTES", shape=[len(photos), 1])
    return v2.ModelInferRequest(model_name=model, inputs=[given], raw_input_contents=[from_elements(photos)])


async def status(call: Any) -> tuple[str, str]:
    """The gRPC status of a call, and our code; "OK" and nothing where it was answered."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return error.code().name, str(trailers.get("sesame-code", ""))
    return "OK", ""


def ours(channel: grpc.aio.Channel) -> Any:
    return pb_grpc.ImageClassifierStub(channel)  # type: ignore[no-untyped-call]


def theirs(channel: grpc.aio.Channel) -> Any:
    return v2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]


CLOSED = [
    ("POST", "/classify"),
    ("POST", "/explain"),
    ("GET", "/models"),
    ("GET", "/models/demo"),
    ("GET", "/models/demo/labels"),
    ("GET", "/models/demo/ready"),
    ("GET", "/metrics"),
    ("POST", "/admin/models/demo/load"),
    ("GET", "/v2"),
    ("GET", "/v2/models/demo"),
    ("POST", "/v2/models/demo/infer"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/demo/load"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/nowhere"),
    ("GET", "//classify"),
]
OPEN = ["/", "/page/app.js", "/docs", "/openapi.json", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"]


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_nothing_is_answered_without_a_key(served: Served, method: str, path: str) -> None:
    wrong = [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}, {"Authorization": "Basic eDp5"}]
    wrong += [{"X-API-Key": ""}, {"Authorization": "Bearer"}, {"Authorization": f"bearer\t{keys.secret('plain')}"}]
    async with served.http() as http:
        for headers in wrong:
            answer = await http.request(method, f"{served.url}{path}", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), headers
            told = answer.json()
            assert path.startswith("/v2") or told["code"] == "unauthorized"
            assert "X-API-Key" in (told["error"] if path.startswith("/v2") else told["detail"])


async def test_what_tells_whether_the_server_works_needs_none(served: Served) -> None:
    async with served.http() as http, served.channel() as channel:
        for path in OPEN:
            assert (await http.get(path)).status_code == 200, path
            assert (await http.head(path)).status_code == 200, path
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        assert (await theirs(channel).ServerLive(v2.ServerLiveRequest())).live
        assert (await theirs(channel).ServerReady(v2.ServerReadyRequest())).ready


async def test_a_key_opens_by_either_header(served: Served) -> None:
    async with served.http() as http:
        for headers in (keys.bearer("plain"), {"X-API-Key": keys.secret("plain")}):
            for path in ("/classify", "/explain"):
                answer = await http.post(path, content=PHOTO, headers=headers)
                assert (answer.status_code, answer.json()["model"]) == (200, "demo")
        both = {"X-API-Key": keys.secret("plain"), "Authorization": "Basic eDp5"}
        assert (await http.get("/models", headers=both)).status_code == 200


async def test_a_key_in_the_address_is_none(served: Served) -> None:
    async with served.http() as http:
        secret = keys.secret("plain")
        for name in ("key", "x-api-key", "access_token", "authorization"):
            for value in (secret, f"Bearer {secret}"):
                assert (await http.get("/models", params={name: value})).status_code == 401


async def test_grpc_needs_a_key_too(served: Served) -> None:
    refused = ("UNAUTHENTICATED", "unauthorized")
    async with served.channel() as channel:
        photo, explain = pb.ClassifyRequest(image=PHOTO), pb.ExplainRequest(photo=pb.ClassifyRequest(image=PHOTO))
        mine, v2_stub = ours(channel), theirs(channel)
        calls: list[tuple[Any, Any]] = [
            (mine.Classify, photo),
            (mine.Explain, explain),
            (mine.ListModels, pb.ListModelsRequest()),
            (v2_stub.ModelInfer, infer(PHOTO)),
            (v2_stub.ModelReady, v2.ModelReadyRequest(name="demo")),
            (v2_stub.RepositoryIndex, v2.RepositoryIndexRequest()),
        ]
        for call, request in calls:
            for given in ((), (("authorization", "Bearer wrong"),), (("x-api-key", "wrong"),)):
                assert await status(call(request, metadata=given)) == refused
            for right in (metadata("plain"), (("x-api-key", keys.secret("plain")),)):
                assert await status(call(request, metadata=right)) == ("OK", "")
        load = v2.RepositoryModelLoadRequest(repository_name="", model_name="demo")
        assert await status(v2_stub.RepositoryModelLoad(load)) == refused
        assert await status(mine.ClassifyStream(iter([photo])).read()) == refused
        assert await status(v2_stub.ModelStreamInfer(iter([infer(PHOTO)])).read()) == refused


async def test_a_body_is_not_read_without_a_key(served: Served) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in head.lower()
    writer.close()


async def test_operators_have_an_admin_key(served: Served) -> None:
    async with served.http("plain") as plain, served.http("operator") as operator, served.channel() as channel:
        for path in ("/admin/models/other/load", "/v2/repository/models/other/load"):
            assert (await plain.post(path)).status_code == 403
            assert (await operator.post(path)).status_code == 200
        assert (
            await operator.post("/admin/models/other/load", headers={"X-API-Key": keys.secret("plain")})
        ).status_code == 403
        load = v2.RepositoryModelLoadRequest(model_name="other")
        stub = theirs(channel)
        assert await status(stub.RepositoryModelLoad(load, metadata=metadata("plain"))) == (
            "PERMISSION_DENIED",
            "forbidden",
        )
        assert await status(stub.RepositoryModelLoad(load, metadata=metadata("operator"))) == ("OK", "")


async def test_metrics_are_for_those_that_may_read_them(served: Served) -> None:
    for name, expected in (("plain", 403), ("prometheus", 200), ("operator", 200)):
        async with served.http(name) as http:
            assert (await http.get("/metrics")).status_code == expected


async def test_a_key_has_only_its_models_also_through_aliases(served: Served) -> None:
    async with served.http("operator") as operator:
        for alias, model in (("to_demo", "demo"), ("to_other", "other")):
            put = await operator.put(f"/admin/aliases/{alias}", json={"model": model, "version": "1"})
            assert put.status_code == 200
    async with served.http("other_only") as http:
        for model, expected in (("other", 200), ("to_other", 200), ("demo", 403), ("to_demo", 403), ("none", 403)):
            answer = await http.post("/classify", content=PHOTO, params={"model": model})
            assert answer.status_code == expected, model
        assert (await http.post("/classify", content=PHOTO)).json()["code"] == "forbidden"  # the default is the demo
        assert (await http.post("/explain", content=PHOTO, params={"model": "to_demo"})).status_code == 403
        listed = (await http.get("/models")).json()
        assert ({each["model"] for each in listed["models"]}, set(listed["aliases"])) == ({"other"}, {"to_other"})
        for path in ("/models/demo", "/models/demo/labels", "/models/to_demo/labels", "/models/demo/ready"):
            assert (await http.get(path)).json()["code"] == "forbidden", path
        for path in ("/v2/models/demo", "/v2/models/demo/config", "/v2/models/demo/ready", "/v2/models/demo/stats"):
            assert (await http.get(path)).status_code == 403, path
        index = (await http.post("/v2/repository/index")).json()
        assert {each["name"] for each in index} == {"other"}
        stats = (await http.get("/v2/models/stats")).json()["model_stats"]
        assert {each["name"] for each in stats} <= {"other"}


async def test_a_key_has_only_its_models_over_grpc(served: Served) -> None:
    denied, mine = ("PERMISSION_DENIED", "forbidden"), metadata("other_only")
    async with served.channel() as channel:
        for model, expected in (("other", ("OK", "")), ("demo", denied), ("none", denied)):
            request = pb.ClassifyRequest(image=PHOTO, model=model)
            assert await status(ours(channel).Classify(request, metadata=mine)) == expected
            assert await status(theirs(channel).ModelInfer(infer(PHOTO, model=model), metadata=mine)) == expected
        listed = await ours(channel).ListModels(pb.ListModelsRequest(), metadata=mine)
        assert {model.name for model in listed.models} == {"other"}
        call = ours(channel).ClassifyStream(iter([pb.ClassifyRequest(image=PHOTO, model="demo")]), metadata=mine)
        assert (await call.read()).error.code == "forbidden"


async def test_a_rate_holds_over_rest(served: Served) -> None:
    async with served.each_process("five_rest") as clients:
        answers = [await clients[turn % len(clients)].post("/classify", content=PHOTO) for turn in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].json()["code"] == "rate_limited"
    assert 9000 < int(answers[-1].headers["retry-after"]) <= 1 / SLOW


async def test_a_rate_holds_over_grpc(served: Served) -> None:
    async with served.channel() as channel:
        request, mine = pb.ClassifyRequest(image=PHOTO), metadata("five_grpc")
        found = [await status(ours(channel).Classify(request, metadata=mine)) for _ in range(6)]
        assert found == [("OK", "")] * 5 + [("RESOURCE_EXHAUSTED", "rate_limited")]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ours(channel).Classify(request, metadata=mine)
        trailers = dict(raised.value.trailing_metadata() or ())
        assert 9e6 < int(trailers["grpc-retry-pushback-ms"]) <= 1e3 / SLOW


async def test_a_rate_is_one_for_all_faces_and_protocols(served: Served) -> None:
    name = "five_both"
    async with served.each_process(name) as clients, served.channel() as channel:
        assert (await clients[0].post("/classify", content=PHOTO)).status_code == 200
        assert (await clients[-1].post("/explain", content=PHOTO)).status_code == 200
        assert await status(ours(channel).Classify(pb.ClassifyRequest(image=PHOTO), metadata=metadata(name))) == (
            "OK",
            "",
        )
        assert await status(theirs(channel).ModelInfer(infer(PHOTO, PHOTO), metadata=metadata(name))) == ("OK", "")
        assert (await clients[0].post("/classify", content=PHOTO)).status_code == 429
        assert (await clients[-1].post("/explain", content=PHOTO)).status_code == 429
        assert (await clients[0].get("/models")).status_code == 200


async def test_a_request_takes_all_or_none(served: Served) -> None:
    def files(count: int) -> list[tuple[str, bytes]]:
        return [("image", PHOTO)] * count

    async with served.each_process("five_v2") as clients:
        http = clients[0]
        too_many = await http.post("/classify", files=files(6))
        assert (too_many.status_code, too_many.json()["code"]) == (400, "malformed")
        assert "burst" in too_many.json()["detail"]
        assert (await http.post("/classify", files=files(3))).status_code == 200
        assert (await http.post("/classify", files=files(3))).status_code == 429
        assert (await http.post("/classify", files=files(2))).status_code == 200
        assert (await clients[-1].post("/classify", content=PHOTO)).status_code == 429


async def test_a_quota_is_of_the_day_and_is_shown(served: Served) -> None:
    async with served.each_process("two_a_day") as clients:
        answers = [await clients[turn % len(clients)].post("/classify", content=PHOTO) for turn in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 86_400
    async with served.http("prometheus") as http:
        text = (await http.get("/metrics")).text
    assert 'sesame_key_quota_left_images{key="two_a_day"} 0.0' in text
    assert 'sesame_key_images_total{key="two_a_day",outcome="ok"} 2.0' in text
    assert 'sesame_key_refused_total{code="rate_limited",key="two_a_day"} 1.0' in text


async def test_photos_of_a_stream_wait_for_their_turn(served: Served) -> None:
    count = 40  # at once there are tokens for four

    async def photos() -> AsyncIterator[pb.ClassifyRequest]:
        for number in range(count):
            yield pb.ClassifyRequest(image=PHOTO, id=str(number))

    async with served.channel() as channel:
        found = [answer async for answer in ours(channel).ClassifyStream(photos(), metadata=metadata("fast"))]
    assert {answer.id for answer in found} == {str(number) for number in range(count)}
    assert not [answer.error for answer in found if answer.HasField("error")]


async def test_a_removed_key_ends_at_once_also_where_a_connection_is_open(served: Served) -> None:
    served.write(keys.table("leaver"))
    async with served.each_process("leaver") as clients, served.channel() as channel:
        for http in clients:
            while (await http.get("/models")).status_code != 200:
                await asyncio.sleep(0.05)
        stream = ours(channel).ClassifyStream(metadata=metadata("leaver"))
        while await status(ours(channel).ListModels(pb.ListModelsRequest(), metadata=metadata("leaver"))) != ("OK", ""):
            await asyncio.sleep(0.05)
        await stream.write(pb.ClassifyRequest(image=PHOTO, id="before"))
        assert (await stream.read()).id == "before"
        served.write()
        for http in clients:
            while (answer := await http.post("/classify", content=PHOTO)).status_code == 200:
                await asyncio.sleep(0.05)
            assert answer.status_code == 401
        while await status(ours(channel).ListModels(pb.ListModelsRequest(), metadata=metadata("leaver"))) == ("OK", ""):
            await asyncio.sleep(0.05)
        await stream.write(pb.ClassifyRequest(image=PHOTO, id="after"))
        assert await status(stream.read()) == ("UNAUTHENTICATED", "unauthorized")


async def test_the_document_says_which_routes_need_a_key(served: Served) -> None:
    async with served.http() as http:
        document = (await http.get("/openapi.json")).json()
    secured = {
        path for path, methods in document["paths"].items() if any("security" in each for each in methods.values())
    }
    assert document["paths"].keys() - secured == {"/livez", "/readyz"}


async def test_heads_that_no_key_has_are_refused_in_order(served: Served) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    for value, expected in ((b"\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87", b"401"), (b"x" * (10 << 20), b"431")):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /models HTTP/1.1\r\nHost: x\r\nX-API-Key: ")
        for start in range(0, len(value), 1 << 16):
            writer.write(value[start : start + (1 << 16)])
            if len(value) > 100:
                break  # it need not be sent to its end to be too large
        writer.write(b"\r\n\r\n")
        status_line = await reader.readline()
        assert status_line.split()[1] == expected
        writer.close()
    async with served.channel() as channel:
        huge = (("x-api-key", "x" * (1 << 20)),)
        code, _ = await status(ours(channel).ListModels(pb.ListModelsRequest(), metadata=huge))
        assert code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL")
        assert await status(ours(channel).ListModels(pb.ListModelsRequest(), metadata=metadata("plain"))) == ("OK", "")


async def test_many_wrong_keys_shut_nobody_out(served: Served) -> None:
    async with served.http() as guessing, served.http("plain") as http:
        guesses = [guessing.get("/models", headers={"X-API-Key": f"ssm_{number}"}) for number in range(200)]
        answers, mine = await asyncio.gather(asyncio.gather(*guesses), http.post("/classify", content=PHOTO))
    assert {answer.status_code for answer in answers} == {401}
    assert mine.status_code == 200


async def test_no_answer_and_no_error_shows_a_secret(served: Served) -> None:
    async with served.http("plain") as http:
        told: list[httpx.Response] = [
            await http.get("/models"),
            await http.get("/nowhere"),
            await http.post("/admin/models/demo/load"),
            await http.get("/models", headers={"X-API-Key": "ssm_a_wrong_secret"}),
        ]
    for answer in told:
        assert keys.secret("plain") not in json.dumps(dict(answer.headers)) + answer.text
        assert "ssm_a_wrong_secret" not in answer.text
