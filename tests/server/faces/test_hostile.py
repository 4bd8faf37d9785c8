"""Every file of tests/data/hostile, and every broken request: its row of the table, soon, and the server goes on.

One server takes all of them, one after another.
"""

import asyncio
import base64
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.faces import Running, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
HOSTILE = Path(__file__).parents[2] / "data" / "hostile"
both = pytest.mark.parametrize("face", ["rest", "rpc"])
ANSWERED = ""

FILES = {
    "truncated.jpg": "bad_image",
    "truncated_header.jpg": "bad_image",
    "bomb.png": "too_many_pixels",
    "lying_large.jpg": "too_many_pixels",
    "lying_below_limit.jpg": "bad_image",
    "lying_size.png": "bad_image",
    "scans_500.jpg": "bad_image",
    "scans_hidden.jpg": "bad_image",
    "empty.jpg": "malformed",
    "text.txt": "unsupported_type",
    "drawing.svg": "unsupported_type",
    "animated.gif": "unsupported_type",
    "animated.png": "animated",
    "animated.webp": "animated",
    "one_pixel.png": ANSWERED,
    "long_30000x1.png": ANSWERED,
    "tall_1x30000.png": ANSWERED,
    "two_pictures.mpo.jpg": ANSWERED,
    "cmyk.jpg": ANSWERED,
    "sixteen_bit.png": ANSWERED,
    "palette_with_alpha.png": ANSWERED,
    "damaged_exif.jpg": ANSWERED,
    "html_polyglot.jpg": ANSWERED,
    "plain.png": ANSWERED,
    "exif_segments.jpg": "bad_image",
    "comments.jpg": "bad_image",
    "escapes.jpg": "bad_image",
    "chunks.png": "bad_image",
    "pixel_chunks.png": "bad_image",
    "chunks.webp": "bad_image",
    "exif_of_fractions.png": ANSWERED,
    "exif_overlapping.png": ANSWERED,
    "frames_that_warn.png": ANSWERED,
    **{f"orientation_{tag}.png": ANSWERED for tag in range(1, 9)},
}


@pytest.fixture(scope="module")
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(
        demo.parents[1],
        max_image_bytes=1 << 20,
        max_request_bytes=2 << 20,
        default_timeout_ms=60_000,
        max_timeout_ms=60_000,
    ) as server:
        yield server


def test_no_hostile_file_is_forgotten() -> None:
    assert {path.name for path in HOSTILE.iterdir()} - {"make.py", "__pycache__"} == FILES.keys()


@both
async def test_each_hostile_file_gets_its_row_of_the_table_and_the_server_goes_on(face: str, server: Running) -> None:
    client = server.client(face)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, code in FILES.items():
        async with asyncio.timeout(5):  # far above the second allowed: this only ends a hang
            outcome = await client.classify((HOSTILE / name).read_bytes())
        assert outcome.code == code, name
        assert "/" not in outcome.detail.replace("image/", "").replace("application/", ""), name
        assert not (await client.classify(jpeg())).code, f"after {name}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib < 300 * 1024


@both
async def test_all_hostile_files_at_once_harm_no_good_photo(face: str, server: Running) -> None:
    client = server.client(face)
    photos = [content for name in FILES for content in ((HOSTILE / name).read_bytes(), jpeg())]
    outcomes = await asyncio.gather(*(client.classify(photo) for photo in photos))
    assert [outcome.code for outcome in outcomes[::2]] == list(FILES.values())
    assert {outcome.code for outcome in outcomes[1::2]} == {ANSWERED}


@both
async def test_an_orientation_does_not_change_the_answer(face: str, server: Running) -> None:
    client = server.client(face)
    upright = await client.classify((HOSTILE / "plain.png").read_bytes())
    for tag in range(1, 9):
        turned = await client.classify((HOSTILE / f"orientation_{tag}.png").read_bytes())
        assert turned.indexes == upright.indexes


@both
async def test_too_many_bytes_are_refused(face: str, server: Running) -> None:
    assert (await server.client(face).classify(jpeg() + bytes(1 << 20))).code in (
        "too_large",
        "grpc:RESOURCE_EXHAUSTED",
    )
    assert not (await server.client(face).classify(jpeg())).code


IMAGE = base64.b64encode(jpeg()).decode()
REQUESTS: dict[str, tuple[int, str, dict[str, object]]] = {
    "nothing at all": (400, "malformed", {"content": b""}),
    "a text type": (415, "unsupported_type", {"content": jpeg(), "headers": {"Content-Type": "text/plain"}}),
    "an image type that lies": (200, "", {"content": jpeg(), "headers": {"Content-Type": "image/svg+xml"}}),
    "multipart without boundary": (
        400,
        "malformed",
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    ),
    "broken multipart": (
        400,
        "malformed",
        {"content": b"no boundary here", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    ),
    "multipart that ends early": (
        400,
        "malformed",
        {
            "content": b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nabc',
            "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        },
    ),
    "multipart without files": (400, "malformed", {"files": {"a": (None, "1")}}),
    "a field among the files": (400, "malformed", {"data": {"top_k": "1"}, "files": {"a": ("a.jpg", jpeg())}}),
    "an empty file": (200, "", {"files": {"a": ("a.jpg", b"")}}),
    "65 files": (400, "malformed", {"files": [("a", (f"{i}.jpg", b"x")) for i in range(65)]}),
    "JSON that is none": (400, "malformed", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    "deep JSON": (400, "malformed", {"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}),
    "JSON without an image": (400, "malformed", {"json": {"top_k": 3}}),
    "JSON with both": (400, "malformed", {"json": {"image": IMAGE, "images": [IMAGE]}}),
    "JSON with no images": (400, "malformed", {"json": {"images": []}}),
    "JSON with a number for an image": (400, "malformed", {"json": {"image": 7}}),
    "JSON with bad base64": (400, "malformed", {"json": {"image": "not base64!"}}),
    "JSON with a data address": (400, "malformed", {"json": {"image": f"data:image/jpeg;base64,{IMAGE}"}}),
    "JSON with an unknown field": (400, "malformed", {"json": {"image": IMAGE, "topk": 3}}),
    "JSON with a strange top_k": (400, "malformed", {"json": {"image": IMAGE, "top_k": 2.5}}),
    "JSON with half a surrogate pair": (
        404,
        "unknown_model",
        {"content": b'{"image": "", "model": "\\ud800"}', "headers": {"Content-Type": "application/json"}},
    ),
    "top_k with zeros before it": (200, "", {"content": jpeg(), "params": {"top_k": "0000000010"}}),
    "top_k of ten digits": (400, "malformed", {"content": jpeg(), "params": {"top_k": "1000000000"}}),
    "top_k of five thousand digits": (400, "malformed", {"content": jpeg(), "params": {"top_k": "9" * 5000}}),
    "JSON that gives nothing": (
        200,
        "",
        {"json": {"image": IMAGE, "model": None, "version": None, "top_k": None, "priority": None}},
    ),
    "JSON with a strange model": (400, "malformed", {"json": {"image": IMAGE, "model": 3}}),
    "top_k of no number": (400, "malformed", {"content": jpeg(), "params": {"top_k": "five"}}),
    "top_k zero": (400, "malformed", {"content": jpeg(), "params": {"top_k": "0"}}),
    "top_k below zero": (400, "malformed", {"content": jpeg(), "params": {"top_k": "-1"}}),
    "no time at all": (400, "malformed", {"content": jpeg(), "headers": {"X-Request-Timeout-Ms": "0"}}),
    "too much time": (400, "malformed", {"content": jpeg(), "headers": {"X-Request-Timeout-Ms": "60001"}}),
    "time with zeros before it": (
        400,
        "malformed",
        {"content": jpeg(), "headers": {"X-Request-Timeout-Ms": "000000001" + 20 * "9"}},
    ),
    "time of five thousand digits": (
        400,
        "malformed",
        {"content": jpeg(), "headers": {"X-Request-Timeout-Ms": "9" * 5000}},
    ),
    "JSON of many values": (400, "malformed", {"json": {"images": [""] * 1000}}),
    "time of no number": (400, "malformed", {"content": jpeg(), "headers": {"X-Request-Timeout-Ms": "1e3"}}),
    "an unknown model": (404, "unknown_model", {"content": jpeg(), "params": {"model": "../demo"}}),
    "a body too large": (413, "too_large", {"content": bytes((1 << 20) + 1)}),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_each_broken_request_gets_its_row_of_the_table(name: str, server: Running) -> None:
    status, code, request = REQUESTS[name]
    response = await server.rest.http.post("/classify", **request)  # type: ignore[arg-type]
    assert response.status_code == status
    if code:
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert (problem["status"], problem["code"]) == (status, code)
        assert problem["detail"].endswith((".", ")."))
    assert (await server.rest.http.post("/classify", content=jpeg())).status_code == 200


async def test_an_empty_part_is_its_own_items_error(server: Running) -> None:
    results = (await server.rest.http.post("/classify", files={"a": ("a.jpg", b"")})).json()["results"]
    assert results[0]["error"]["code"] == "unsupported_type"


async def test_an_image_too_large_among_several_is_its_own_items_error(server: Running) -> None:
    files = [("a", ("a.jpg", jpeg() + bytes(1 << 20))), ("b", ("b.jpg", jpeg()))]
    results = (await server.rest.http.post("/classify", files=files)).json()["results"]
    assert (results[0]["error"]["status"], results[0]["error"]["code"]) == (413, "too_large")
    assert "predictions" in results[1]


async def test_a_chunked_body_is_counted_while_it_comes(server: Running) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):  # of 64 KiB: far more than the server will discard without an end
            sent += 1
            yield bytes(64 << 10)

    response = await server.rest.http.post("/classify", content=endless())
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert response.headers["connection"] == "close"


async def raw(port: int, request: bytes, rest: bytes = b"") -> tuple[int, dict[str, object]]:
    """Write bytes to the HTTP port; the status and JSON body of what comes back before it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
    writer.close()
    return int(head.split()[1]), json.loads(body)


async def test_who_asks_before_sending_too_much_is_told_before_sending(server: Running) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    status, problem = await raw(server.http_port, head)
    assert (status, problem["code"]) == (413, "too_large")


async def test_a_body_that_does_not_come_in_time_is_408(server: Running) -> None:
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX-Request-Timeout-Ms: 50\r\nExpect: \r\n\r\n"
    status, problem = await raw(server.http_port, head + b"half")
    assert (status, problem["code"]) == (408, "slow_body")


async def test_other_addresses_and_methods_are_problems_too(server: Running) -> None:
    http: httpx.AsyncClient = server.rest.http
    for method, path, status, code in (
        ("GET", "/nowhere", 404, "unknown_path"),
        ("GET", "/classify", 405, "method_not_allowed"),
        ("POST", "/classify/", 404, "unknown_path"),
        ("GET", "/models/", 404, "unknown_path"),
        ("DELETE", "/models", 405, "method_not_allowed"),
        ("GET", "/models/nowhere", 404, "unknown_model"),
        ("GET", "/models/nowhere/labels", 404, "unknown_model"),
        ("GET", "/models/demo/labels?version=9", 404, "unknown_model"),
    ):
        response = await http.request(method, path)
        assert (response.status_code, response.json()["code"]) == (status, code), path
    assert (await http.get("/classify")).headers["allow"] == "POST"
    assert (await http.delete("/models")).headers["allow"] == "GET, HEAD"


async def test_zeros_before_a_number_change_nothing(server: Running) -> None:
    answer = await server.rest.http.post("/classify", content=jpeg(), params={"top_k": "0000000010"})
    assert len(answer.json()["predictions"]) == 10


async def test_what_json_gives_as_null_is_taken_from_the_query_or_is_not_given(server: Running) -> None:
    answer = await server.rest.http.post("/classify", json={"image": IMAGE, "top_k": None}, params={"top_k": "2"})
    assert len(answer.json()["predictions"]) == 2
    answer = await server.rest.http.post("/classify", json={"image": IMAGE, "top_k": None})
    assert len(answer.json()["predictions"]) == 5


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/page/app.js",
        "/livez",
        "/readyz",
        "/metrics",
        "/models",
        "/models/demo",
        "/models/demo/ready",
        "/docs",
        "/openapi.json",
    ],
)
async def test_head_is_answered_as_get_without_the_body(path: str, server: Running) -> None:
    got, told = [await server.rest.http.request(method, path) for method in ("GET", "HEAD")]
    assert (told.status_code, told.headers["content-type"]) == (200, got.headers["content-type"])
    assert told.content == b""
    assert (await server.rest.http.head("/livez")).headers["content-length"] == "13"
    assert (await server.rest.http.get("/livez")).json() == {"live": True}  # on the same connection


async def test_head_of_what_is_not_there_is_404_and_of_what_is_posted_405(server: Running) -> None:
    assert (await server.rest.http.head("/nowhere")).status_code == 404
    assert (await server.rest.http.head("/classify")).status_code == 405


async def test_no_line_of_the_log_can_be_forged(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "server.access")
    await server.rest.http.get("/a%0AINFO%20forged%1B[31m", headers={"X-Request-Id": "b\tINFO"})
    assert all(line.isprintable() for line in (record.getMessage() for record in caplog.records))
    assert any("/a%0AINFO" in record.getMessage() for record in caplog.records)


async def test_a_request_id_is_echoed_when_fit_and_replaced_when_not(server: Running) -> None:
    http = server.rest.http
    assert (await http.get("/livez", headers={"X-Request-Id": "a.B-9_c"})).headers["x-request-id"] == "a.B-9_c"
    for unfit in ("", "x" * 129, "white space", "<script>"):
        replaced = (await http.get("/livez", headers={"X-Request-Id": unfit})).headers["x-request-id"]
        assert replaced not in ("", unfit)
        assert len(replaced) == 32
