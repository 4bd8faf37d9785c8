"""The contract of REST: every route's answers and errors are those that `/openapi.json` describes."""

import asyncio
import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.routing import Route

from bundle.manifest import ParityRow
from server.errors import Code, ServingError
from server.exchange import Exchange
from server.rest.bodies import parse_json
from server.rest.contract.classification import Classification, Classifications
from server.rest.contract.models import GraphProof
from server.rest.contract.requests import PhotoInJson, PhotosInJson
from server.rest.docs import examples
from server.rest.docs.page import docs_page
from server.rest.problems import STATUS
from server.rest.request_options import request_options
from tests.support.contract import Document, invalid, operation_of, violations
from tests.support.faces import Running, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
TOKEN = "0123456789abcdef"
KEY = {"Authorization": f"Bearer {TOKEN}"}
NOT_IN_THE_DOCUMENT = {"/", "/docs", "/openapi.json"}


@pytest.fixture
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(
        demo.parents[1], admin_token=TOKEN, max_image_bytes=1 << 20, max_request_bytes=1 << 20
    ) as server:
        yield server


async def document_of(server: Running) -> Document:
    document: Document = (await server.rest.http.get("/openapi.json")).json()
    return document


IMAGE = base64.b64encode(jpeg()).decode()
REQUESTS: list[tuple[str, str, int, dict[str, Any]]] = [
    ("POST", "/classify", 200, {"content": jpeg()}),
    ("POST", "/classify", 200, {"json": {"image": IMAGE}}),
    ("POST", "/classify", 200, {"files": [("a", ("a.jpg", jpeg())), ("b", ("b.gif", b"GIF89a"))]}),
    ("POST", "/classify", 400, {"content": b""}),
    ("POST", "/classify", 404, {"content": jpeg(), "params": {"model": "nowhere"}}),
    (
        "POST",
        "/classify",
        408,
        {"content": jpeg(), "headers": {"Content-Length": "9999", "X-Request-Timeout-Ms": "40"}},
    ),
    ("POST", "/classify", 413, {"content": bytes((1 << 20) + 1)}),
    ("POST", "/classify", 415, {"content": b"GIF89a"}),
    ("POST", "/classify", 422, {"content": jpeg()[:-300]}),
    ("GET", "/classify", 405, {}),
    ("POST", "/explain", 200, {"content": jpeg()}),
    ("POST", "/explain?gates=full&overlay=true&class=3&top_k=2", 200, {"content": jpeg()}),
    ("POST", "/explain?class=cat", 400, {"content": jpeg()}),
    ("POST", "/explain?model=nowhere", 404, {"content": jpeg()}),
    ("POST", "/explain", 415, {"content": b"no photo"}),
    ("POST", "/explain", 422, {"content": jpeg()[:300]}),
    ("GET", "/nowhere", 404, {}),
    ("GET", "/models", 200, {}),
    ("GET", "/models/demo", 200, {}),
    ("GET", "/models/nowhere", 404, {}),
    ("GET", "/models/demo/labels", 200, {}),
    ("GET", "/models/demo/labels?version=x", 400, {}),
    ("GET", "/models/demo/labels?version=9", 404, {}),
    ("GET", "/models/demo/ready", 200, {}),
    ("GET", "/models/demo/ready?version=x", 400, {}),
    ("GET", "/models/nowhere/ready", 404, {}),
    ("GET", "/livez", 200, {}),
    ("GET", "/readyz", 200, {}),
    ("GET", "/metrics", 200, {}),
    ("POST", "/admin/models/demo/load", 401, {}),
    ("POST", "/admin/models/demo/load", 403, {"headers": {"Authorization": "Bearer nonsense"}}),
    ("POST", "/admin/models/demo/load", 200, {"headers": KEY}),
    ("POST", "/admin/models/demo/load?version=x", 400, {"headers": KEY}),
    ("POST", "/admin/models/nowhere/load", 404, {"headers": KEY}),
    ("PUT", "/admin/aliases/stable", 401, {"json": {"model": "demo"}}),
    ("PUT", "/admin/aliases/stable", 400, {"headers": KEY, "json": {"model": 1}}),
    ("PUT", "/admin/aliases/demo", 400, {"headers": KEY, "json": {"model": "demo"}}),
    ("PUT", "/admin/aliases/stable", 404, {"headers": KEY, "json": {"model": "nowhere"}}),
    ("PUT", "/admin/aliases/stable", 413, {"headers": KEY, "content": bytes(1 << 17)}),
    ("PUT", "/admin/aliases/stable", 200, {"headers": KEY, "json": {"model": "demo", "version": "1"}}),
    ("POST", "/admin/models/demo/unload", 409, {"headers": KEY}),
    ("GET", "/models/stable/compare", 400, {}),
    ("GET", "/models/demo/compare", 404, {}),
    ("PUT", "/admin/aliases/stable", 200, {"headers": KEY, "json": {"model": "demo", "shadow": "1"}}),
    ("GET", "/models/stable/compare", 200, {}),
    ("GET", "/models", 200, {}),
    ("DELETE", "/admin/aliases/stable", 403, {"headers": {"Authorization": "Bearer nonsense"}}),
    ("DELETE", "/admin/aliases/stable", 200, {"headers": KEY}),
    ("DELETE", "/admin/aliases/stable", 404, {"headers": KEY}),
    ("POST", "/admin/models/demo/unload", 404, {"headers": KEY, "params": {"version": "9"}}),
    ("POST", "/admin/models/demo/unload", 200, {"headers": KEY}),
    ("GET", "/models", 200, {}),
    ("GET", "/readyz", 503, {}),
    ("GET", "/models/demo/ready", 503, {}),
    ("GET", "/models/demo/labels", 503, {}),
    ("POST", "/classify", 503, {"content": jpeg()}),
]
"""In this order: the last ones find the model unloaded."""


async def test_every_route_answers_and_fails_as_the_document_says(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(demo.parent)  # its aliases are written beside it
    limits: dict[str, Any] = {"max_image_bytes": 1 << 20, "max_request_bytes": 1 << 20}
    async with running(tmp_path, admin_token=TOKEN, **limits) as server:
        document, seen = await document_of(server), set()
        for method, path, status, options in REQUESTS:
            response = await send(server, method, path, options)
            assert response.status_code == status, (method, path, response.text)
            assert not violations(document, response), (method, path)
            seen.add((method, response.request.url.path, status))
    assert {(method, path) for method, path, status in templates(document, seen) if status == 200} == {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }


async def send(server: Running, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
    if options.get("headers", {}).get("Content-Length"):  # httpx would not send less than it announces
        return await send_too_little(server, method, path, options)
    return await server.rest.http.request(method, path, **options)


async def send_too_little(server: Running, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        *(f"{name}: {value}" for name, value in options["headers"].items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + options["content"])
    head, _, body = (await reader.readuntil(b"}")).partition(b"\r\n\r\n")
    writer.close()
    status, *headers = head.decode().split("\r\n")
    pairs = dict(line.split(": ", 1) for line in headers)
    request = httpx.Request(method, f"http://x{path}")
    return httpx.Response(int(status.split()[1]), headers=pairs, content=body, request=request)


def templates(document: Document, seen: set[tuple[str, str, int]]) -> set[tuple[str, str, int]]:
    """The same with the routes' own paths, such as `/models/{name}`."""
    return {
        (method, template, status)
        for method, path, status in seen
        for template in document["paths"]
        if operation_of({"paths": {template: document["paths"][template]}}, method, path)
    }


async def test_a_full_queue_a_deadline_and_a_broken_engine_are_in_the_document(demo: Path) -> None:
    async with held(demo, queue_images=1, max_images=1) as (server, engine):
        document, http = await document_of(server), server.rest.http
        late = await http.post("/classify", content=jpeg(), headers={"X-Request-Timeout-Ms": "60"})
        full = await http.post("/classify", content=jpeg())
        engine.gate.release()
        await server.until("sesame_permits_taken", 0)
        engine.failing = True
        engine.gate.release()
        failed = await http.post("/classify", content=jpeg())
    responses = {504: late, 429: full, 500: failed}
    assert {status: response.status_code for status, response in responses.items()} == {key: key for key in responses}
    for response in responses.values():
        assert not violations(document, response)


async def test_the_check_of_the_contract_finds_what_differs_from_it(server: Running) -> None:
    document = await document_of(server)
    response = await server.rest.http.post("/classify", content=jpeg())
    answer = response.json()
    for spoilt in (
        {**answer, "more": 1},
        {**answer, "batch": "1"},
        {**answer, "group": None},
        {key: value for key, value in answer.items() if key != "version"},
        {**answer, "predictions": [{**answer["predictions"][0], "probability": None}]},
        {**answer, "timing_ms": {}},
    ):
        other = httpx.Response(200, json=spoilt, request=response.request)
        assert violations(document, other), spoilt
    assert violations(document, httpx.Response(200, text="hello", request=response.request))
    problem = (await server.rest.http.post("/classify", content=b"")).json()
    kind = {"Content-Type": "application/problem+json"}
    for status, code in ((400, "deadline"), (404, "malformed"), (418, "unauthorized")):
        other = httpx.Response(
            status, content=json.dumps({**problem, "code": code}), headers=kind, request=response.request
        )
        assert violations(document, other), code


async def test_the_document_has_every_route_that_is_served_and_no_other(server: Running) -> None:
    document = await document_of(server)
    served = routes(server)
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    api = {(path, method) for path, method in served if not path.startswith("/page/")}
    assert {(path, method) for path, method in api if path not in NOT_IN_THE_DOCUMENT} == described
    assert {path for path, _ in served} >= NOT_IN_THE_DOCUMENT


def routes(server: Running) -> set[tuple[str, str]]:
    app: Any = server.app.parts.rest.app
    while not hasattr(app, "routes"):
        app = app._app
    assert all(isinstance(route, Route) for route in app.routes)
    return {(route.path, method) for route in app.routes for method in route.methods - {"HEAD"}}


async def test_each_operation_has_schemas_examples_and_all_its_errors(server: Running) -> None:
    document = await document_of(server)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert {"200", "500", "default"} <= operation["responses"].keys(), path
            assert operation["summary"] and operation["tags"] and operation["description"]
            for status, response in operation["responses"].items():
                for kind, content in response["content"].items():
                    assert content["schema"], (path, status)
                    for example in content.get("examples", {}).values():
                        assert not list(invalid(document, content["schema"], example["value"])), (path, status)
                    assert content.get("examples") or kind == "text/plain", (path, status)
            assert ("security" in operation) == path.startswith("/admin/"), (path, method)
    assert document["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert (
        set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
        <= document["components"]["schemas"].keys()
    )


async def test_the_longest_deadline_in_the_document_is_the_servers_own(demo: Path) -> None:
    async with running(demo.parents[1], default_timeout_ms=1000, max_timeout_ms=7000, max_wait_ms=1000) as server:
        parameters = (await document_of(server))["paths"]["/classify"]["post"]["parameters"]
        (header,) = (each for each in parameters if each["name"] == "X-Request-Timeout-Ms")
        assert header["schema"]["maximum"] == 7000
        too_long = await server.rest.http.post("/classify", content=jpeg(), headers={header["name"]: "7001"})
        assert (too_long.status_code, too_long.json()["code"]) == (400, "malformed")


async def test_requests_from_the_examples_are_answered(server: Running) -> None:
    for example in (examples.ONE_PHOTO, examples.SEVERAL_PHOTOS):
        answer = await server.rest.http.post("/classify", json=examples.shown(example))
        TypeAdapter(Classification | Classifications).validate_python(answer.json(), extra="forbid")
    response = await server.rest.http.put("/admin/aliases/x", json={"model": "nowhere"}, headers=KEY)
    assert response.json()["code"] == "unknown_model"


@pytest.mark.parametrize(
    "body",
    [
        {"image": IMAGE},
        {"images": [IMAGE, IMAGE]},
        {"image": IMAGE, "model": "demo", "version": "1", "top_k": 3, "priority": "bulk"},
        {"image": IMAGE, "model": None, "version": None, "top_k": None, "priority": None},
        {"images": []},
        {"image": IMAGE, "images": [IMAGE]},
        {"image": 7},
        {"image": None},
        {"image": IMAGE, "topk": 3},
        {"image": IMAGE, "top_k": 2.5},
        {"image": IMAGE, "model": 3},
        {"image": IMAGE, "priority": "soon"},
        {"model": "demo"},
        [],
    ],
)
def test_json_bodies_are_accepted_and_rejected_as_the_contract_says(body: object) -> None:
    contract: TypeAdapter[BaseModel] = TypeAdapter(PhotoInJson | PhotosInJson)
    try:
        contract.validate_json(json.dumps(body))
        allowed = True
    except ValidationError:
        allowed = False
    try:
        parsed = parse_json(64, json.dumps(body).encode())
        request_options({}, parsed.fields, 0, Exchange())
        accepted = True
    except ServingError as error:
        assert error.code is Code.MALFORMED
        accepted = False
    assert accepted == allowed


def test_every_error_has_an_example() -> None:
    assert examples.DETAILS.keys() == set(Code) == STATUS.keys()


def test_proofs_in_answers_have_the_fields_of_those_in_manifests() -> None:
    assert GraphProof.model_fields.keys() == {field.name for field in dataclasses.fields(ParityRow)}


async def test_the_page_of_the_docs_loads_nothing_from_elsewhere(server: Running) -> None:
    page = await server.rest.http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.findall(r"https?:|//[a-z]|@import|url\(", page.text.replace("// ", ""))
    assert re.findall(r'(?:src|href)="([^"]*)"', page.text) == ["data:,", "openapi.json", "openapi.json"]
    assert (await server.rest.http.get("/redoc")).status_code == 404


async def test_the_page_of_the_docs_may_run_only_its_own_script() -> None:
    page = await docs_page()
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, source in (("script", "script-src"), ("style", "style-src")):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", bytes(page.body).decode(), re.DOTALL)
        assert f"{source} {sha256(inline)}" in policy
    assert not re.findall(r"\son\w+=|\sstyle=|javascript:|innerHTML|outerHTML|eval\(", bytes(page.body).decode())


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
