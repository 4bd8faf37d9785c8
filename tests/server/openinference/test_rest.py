"""The Open Inference Protocol over REST: what its clients send and read, without their code."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bundle.files import read
from bundle.images import to_picture
from server.openinference.tensors import from_elements
from tests.support.faces import Running, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
INFER = "/v2/models/demo/infer"
LENGTH = "Inference-Header-Content-Length"
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1], admin_token=TOKEN, exact_pixels=True) as server:
        yield server


def photos(count: int = 1, **parameters: Any) -> tuple[dict[str, Any], bytes]:
    """An input of JPEG files, and its content in binary."""
    content = from_elements(jpeg(number) for number in range(count))
    return {
        "name": "image",
        "datatype": "BYTES",
        "shape": [count, 1],
        "parameters": {"binary_data_size": len(content), **parameters},
    }, content


def binary(request: dict[str, Any], content: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(request).encode()
    return text + content, {LENGTH: str(len(text))}


async def inferred(server: Running, request: dict[str, Any], content: bytes = b"", **headers: str) -> httpx.Response:
    body, length = binary(request, content)
    return await server.rest.http.post(INFER, content=body, headers=length | headers)


def probabilities(response: httpx.Response) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The output, from JSON or from binary."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(LENGTH, len(response.content)))
    (output,) = json.loads(response.content[:length])["outputs"]
    assert (output["name"], output["datatype"]) == ("probabilities", "FP32")
    if "data" in output:
        assert "parameters" not in output  # Triton's C++ client would look for binary_data_size in them
        return np.array(output["data"], np.float32).reshape(output["shape"])
    tensor = response.content[length:]
    assert output["parameters"] == {"binary_data_size": len(tensor)}
    return np.frombuffer(tensor, "<f4").reshape(output["shape"])


async def expected(server: Running, count: int = 1) -> list[list[int]]:
    """The best classes of each photo, by `POST /classify`."""
    return [(await server.rest.classify(jpeg(number))).indexes for number in range(count)]


def best(rows: np.ndarray[Any, np.dtype[np.float32]]) -> list[list[int]]:
    return [[int(index) for index in order[:5]] for order in np.argsort(-rows, axis=1, kind="stable")]


@pytest.mark.parametrize("wanted", [None, True, False])
@pytest.mark.parametrize("shape", [[3, 1], [3]])
async def test_files_in_binary_get_what_classify_says(server: Running, wanted: bool | None, shape: list[int]) -> None:
    given, content = photos(3)
    request: dict[str, Any] = {"inputs": [given | {"shape": shape}]}
    if wanted is None:
        request["parameters"] = {"binary_data_output": True}
    else:
        request["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": wanted}}]
    response = await inferred(server, request, content)
    assert (LENGTH in response.headers) is (wanted is not False)
    assert best(probabilities(response)) == await expected(server, 3)


async def test_files_in_json_are_base64(server: Running) -> None:
    for data in ([base64.b64encode(jpeg(0)).decode()], [[base64.b64encode(jpeg(0)).decode()]]):
        given = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": data}
        assert best(probabilities(await inferred(server, {"inputs": [given]}))) == await expected(server)


async def test_the_body_may_be_one_file(server: Running) -> None:
    response = await server.rest.http.post(INFER, content=jpeg(0), headers={LENGTH: "0"})
    assert best(probabilities(response)) == await expected(server)
    assert LENGTH in response.headers


async def test_pixels_are_what_the_network_sees(server: Running, demo: Path) -> None:
    wanted = read(demo).manifest.preprocessing
    pixels = np.stack([to_picture(jpeg(number), wanted, 10**6) for number in range(2)])
    given = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    size = {"parameters": {"binary_data_size": pixels.nbytes}}
    rows = [
        probabilities(await inferred(server, {"inputs": [given | size]}, pixels.tobytes())),
        probabilities(await inferred(server, {"inputs": [given | {"data": pixels.ravel().tolist()}]})),
        probabilities(await inferred(server, {"inputs": [given | {"data": pixels.tolist()}]})),
    ]
    for each in rows:
        assert best(each) == await expected(server, 2)
        np.testing.assert_allclose(each, rows[0], atol=1e-6)


async def test_classes_come_as_text(server: Running) -> None:
    given, content = photos(2)
    wanted = {"name": "probabilities", "parameters": {"classification": 5, "binary_data": False}}
    response = await inferred(server, {"id": "a7", "inputs": [given], "outputs": [wanted]}, content)
    answer = response.json()
    (output,) = answer["outputs"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a7", "demo", "1")
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 5])
    rows = [text.split(":") for text in output["data"]]
    assert [[int(index) for _, index, _ in rows[at : at + 5]] for at in (0, 5)] == await expected(server, 2)
    assert all(len(value.partition(".")[2]) == 6 and label for value, _, label in rows)
    all_classes = {"name": "probabilities", "parameters": {"classification": 10**9}}
    many = (await inferred(server, {"inputs": [given], "outputs": [all_classes]}, content)).json()
    assert many["outputs"][0]["shape"] == [2, 200]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bodies_and_answers_may_be_compressed(server: Running, encoding: str) -> None:
    given, content = photos(2)
    body, headers = binary({"inputs": [given]}, content)
    squeezed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    headers |= {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    response = await server.rest.http.post(INFER, content=squeezed, headers=headers)
    assert response.headers["content-encoding"] == encoding
    assert best(probabilities(response)) == await expected(server, 2)
    plain = await server.rest.http.post(INFER, content=body, headers={**headers, "Content-Encoding": "identity"})
    assert best(probabilities(plain)) == await expected(server, 2)


async def test_a_body_that_inflates_beyond_the_limit_is_refused(demo: Path) -> None:
    async with running(demo.parents[1], max_request_bytes=1 << 20, max_image_bytes=1 << 20) as server:
        bomb = gzip.compress(bytes(64 << 20))
        response = await server.rest.http.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
        assert (response.status_code, list(response.json())) == (413, ["error"])
        assert await server.metric("sesame_receiving_bytes") == 0


async def test_what_the_server_and_the_model_say_of_themselves(server: Running) -> None:
    http = server.rest.http
    assert (await http.get("/v2")).json()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "parameters",
        "statistics",
    ]
    for path in ("/v2/models/demo", "/v2/models/demo/versions/1"):
        model = (await http.get(path)).json()
        assert (model["name"], model["versions"], model["platform"]) == ("demo", ["1"], "onnx_onnxv1")
        assert model["inputs"] == [
            {"name": "image", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, 64, 64, 3]},
        ]
        assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 200]}]
    config = (await http.get("/v2/models/demo/config")).json()
    assert config["max_batch_size"] == 64
    assert [(each["name"], each["optional"]) for each in config["input"]] == [("image", True), ("pixels", True)]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/demo/ready", "/v2/models/demo/versions/1/ready"):
        assert (await http.get(path)).status_code == 200
    index = (await http.post("/v2/repository/index", json={"ready": True})).json()
    assert index == [{"name": "demo", "version": "1", "state": "READY", "reason": ""}]


async def test_errors_have_the_shape_that_clients_read(server: Running) -> None:
    http = server.rest.http
    given, content = photos()
    body, length = binary({"inputs": [given]}, content)
    responses = {
        404: [
            await http.get("/v2/models/nope"),
            await http.get("/v2/models/demo/versions/7/config"),
            await http.get("/v2/nothing"),
            await http.get("/v2/"),
            await http.post("/v2/models/nope/infer", content=body, headers=length),
        ],
        405: [await http.get(INFER), await http.post("/v2/models/demo")],
        400: [await http.get("/v2/models/demo/versions/x/ready"), await http.post(INFER, content=b"{")],
        415: [await http.post(INFER, content=b"{}", headers={"Content-Encoding": "br"})],
        422: [await server.rest.http.post(INFER, content=jpeg(0)[:-200], headers={LENGTH: "0"})],
    }
    for status, answers in responses.items():
        for answer in answers:
            assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert (await http.get("/v2elsewhere")).json()["code"] == "unknown_path"  # not this protocol's


async def test_which_of_several_images_is_bad_is_said(server: Running) -> None:
    content = from_elements([jpeg(0), b"GIF89a", jpeg(1)])
    given = {"name": "image", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(content)}}
    response = await inferred(server, {"inputs": [given]}, content)
    assert response.status_code == 415
    assert response.json()["error"].startswith("Image 1: ")


PICTURE = {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3]}
FILE = {"name": "image", "datatype": "BYTES", "shape": [1]}
BAD: dict[str, Any] = {
    "no inputs": {},
    "no input": {"inputs": []},
    "both inputs": {"inputs": [{**FILE, "data": [""]}, {**PICTURE, "data": [0]}]},
    "another input": {"inputs": [{**FILE, "name": "x", "data": [""]}]},
    "no data": {"inputs": [FILE]},
    "two kinds of data": {"inputs": [{**FILE, "data": [""], "parameters": {"binary_data_size": 0}}]},
    "another datatype": {"inputs": [{**FILE, "datatype": "FP32", "data": [1]}]},
    "negative shape": {"inputs": [{**PICTURE, "shape": [-1, 64, 64, 3], "data": [0]}]},
    "empty shape": {"inputs": [{**FILE, "shape": [], "data": [""]}]},
    "huge shape": {"inputs": [{**PICTURE, "shape": [1, 10**12, 10**12, 3], "data": [0]}]},
    "immense shape": {"inputs": [{**PICTURE, "shape": [1, 10**40, 64, 3], "data": [0]}]},
    "too many images": {"inputs": [{**FILE, "shape": [65], "data": [""] * 65}]},
    "two channels": {"inputs": [{**PICTURE, "shape": [1, 64, 64, 2], "data": [0] * 8192}]},
    "another size": {"inputs": [{**PICTURE, "shape": [1, 32, 32, 3], "data": [0] * 3072}]},
    "too little data": {"inputs": [{**PICTURE, "data": [0, 1]}]},
    "values too large": {"inputs": [{**PICTURE, "data": [256] * 12288}]},
    "values below 0": {"inputs": [{**PICTURE, "data": [-1] * 12288}]},
    "fractions": {"inputs": [{**PICTURE, "data": [0.5] * 12288}]},
    "words": {"inputs": [{**PICTURE, "data": ["a"] * 12288}]},
    "truth": {"inputs": [{**PICTURE, "data": [True] * 12288}]},
    "ragged rows": {"inputs": [{**PICTURE, "data": [[1], [2, 3]]}]},
    "no list": {"inputs": [{**FILE, "data": {"a": 1}}]},
    "not base64": {"inputs": [{**FILE, "data": ["%%%"]}]},
    "numbers as files": {"inputs": [{**FILE, "data": [7]}]},
    "fewer files": {"inputs": [{**FILE, "shape": [2], "data": ["aaaa"]}]},
    "size beyond the body": {"inputs": [{**FILE, "parameters": {"binary_data_size": 99}}]},
    "size that is none": {"inputs": [{**FILE, "parameters": {"binary_data_size": True}}]},
    "another output": {"inputs": [{**FILE, "data": ["aaaa"]}], "outputs": [{"name": "x"}]},
    "an output twice": {"inputs": [{**FILE, "data": ["aaaa"]}], "outputs": [{"name": "probabilities"}] * 2},
    "a negative class": {
        "inputs": [{**FILE, "data": ["aaaa"]}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": -1}}],
    },
    "a priority that is none": {"inputs": [{**FILE, "data": ["aaaa"]}], "parameters": {"priority": "soon"}},
    "a timeout that is none": {"inputs": [{**FILE, "data": ["aaaa"]}], "parameters": {"timeout": 1.5}},
    "half a surrogate pair": {"inputs": [{**FILE, "name": "\ud800", "data": ["aaaa"]}]},
}


@pytest.mark.parametrize("what", BAD)
async def test_a_request_that_does_not_add_up_is_refused(server: Running, what: str) -> None:
    response = await server.rest.http.post(INFER, content=json.dumps(BAD[what]).encode())
    assert (response.status_code, list(response.json())) == (400, ["error"]), response.text


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (b"[" * 10**6, None),
        (b'{"inputs":' + b"[" * 10**5 + b"]" * 10**5 + b"}", None),
        (b"x" * (10 << 20), None),
        (b'{"inputs":[' + b"1," * (5 << 20), None),
        (b'{"inputs":[{"name":"pixels","shape":[1],"datatype":"UINT8","data":[' + b"1," * 1_000_001 + b"1]}]}", None),
        (b"{}", "7"),
        (b"{}", "-1"),
        (b"{}", "1" * 30),
        (b'{"inputs":[]} and more', "13"),
        (json.dumps({"inputs": [{**FILE, "parameters": {"binary_data_size": 5}}]}).encode() + b"\xff" * 5, None),
    ],
)
async def test_rubbish_is_refused(server: Running, body: bytes, length: str | None) -> None:
    headers = {} if length is None else {LENGTH: length}
    response = await server.rest.http.post(INFER, content=body, headers=headers)
    assert (response.status_code, list(response.json())) == (400, ["error"]), response.text
    assert (await server.rest.http.get("/v2/health/live")).status_code == 200


async def test_a_file_of_wrong_length_is_refused(server: Running) -> None:
    for content in (b"\xff\xff\xff\x7f" + bytes(20), b"\0\0", from_elements([b"a", b"b"])):
        given = {**FILE, "parameters": {"binary_data_size": len(content)}}
        response = await inferred(server, {"inputs": [given]}, content)
        assert response.status_code == 400, response.text


async def test_only_operators_load_and_unload(server: Running) -> None:
    http = server.rest.http
    for path in ("/v2/repository/models/demo/load", "/v2/repository/models/demo/unload"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = await http.post(path, headers=headers)
            assert (answer.status_code, list(answer.json())) == (403, ["error"])
    operator = {"Authorization": f"Bearer {TOKEN}"}
    assert (await http.post("/v2/repository/models/demo/unload", headers=operator)).status_code == 200
    assert (await http.get("/v2/models/demo/ready")).status_code == 503
    assert (await http.post("/v2/repository/index", json={"ready": True})).json() == []
    given, content = photos()
    assert (await inferred(server, {"inputs": [given]}, content)).status_code == 503
    config = {"parameters": {"config": "{}"}}
    assert (await http.post("/v2/repository/models/demo/load", json=config, headers=operator)).status_code == 400
    assert (await http.post("/v2/repository/models/demo/load", headers=operator)).status_code == 200
    assert (await inferred(server, {"inputs": [given]}, content)).status_code == 200
    assert (await http.post("/v2/repository/models/nope/load", headers=operator)).status_code == 404


async def test_without_a_token_nobody_is_an_operator(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        answer = await server.rest.http.post(
            "/v2/repository/models/demo/load", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 403


async def test_the_time_limit_of_a_request_holds(demo: Path) -> None:
    async with held(demo) as (server, _):
        given, content = photos()
        request = {"inputs": [given], "parameters": {"timeout": 50_000}}
        answer = await inferred(server, request, content)
        assert (answer.status_code, list(answer.json())) == (504, ["error"])


async def test_a_full_server_says_when_to_come_again(demo: Path) -> None:
    async with held(demo, queue_images=1, max_images=1) as (server, engine):
        given, content = photos()
        first = asyncio.create_task(inferred(server, {"inputs": [given]}, content))
        await server.until("sesame_permits_taken", 1)
        answer = await inferred(server, {"inputs": [given]}, content)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        engine.gate.release()
        assert (await first).status_code == 200


async def test_the_statistics_count_what_was_inferred(server: Running) -> None:
    async def counted() -> dict[str, Any]:
        (model,) = (await server.rest.http.get("/v2/models/demo/stats")).json()["model_stats"]
        return {
            "images": model["inference_count"],
            **{name: each["count"] for name, each in model["inference_stats"].items()},
            "ns": model["inference_stats"]["success"]["ns"],
        }

    before = await counted()
    given, content = photos(3)
    await inferred(server, {"inputs": [given]}, content)
    after = await counted()
    assert {name: after[name] - before[name] for name in ("images", "success", "fail", "cache_hit")} == {
        "images": 3,
        "success": 3,
        "fail": 0,
        "cache_hit": 0,
    }
    assert after["ns"] > before["ns"]
    assert set(after) >= {"queue", "compute_input", "compute_infer", "compute_output", "cache_miss"}
    everything = (await server.rest.http.get("/v2/models/stats")).json()["model_stats"]
    assert [(each["name"], each["version"]) for each in everything] == [("demo", "1")]
    assert (await server.rest.http.get("/v2/models/nope/stats")).status_code == 404
