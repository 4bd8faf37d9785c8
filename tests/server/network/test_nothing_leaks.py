"""No answer says where files lie on this machine, or how the program is built: each error code, over both faces."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle import files, images
from bundle.files import Bundle
from server.engines.choice import Choice
from server.errors import Code
from server.service import Classifier
from tests.conftest import REPOSITORY
from tests.support.faces import Running, choose, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
TOKEN = "a token of 16 characters and more"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LEAK = re.compile(
    r"Traceback|File \"|\.py\b|\.so\b|site-packages|0x[0-9a-f]{6,}|secret"
    r"|(?<![\w.:/-])/(root|tmp|home|usr|var|opt|work|dev|etc)\b"
)
SECRET = "/secret/place/model.onnx"

_PATHS = (
    "/models/none",
    "/models/none/labels",
    "/v2/models/none",
    "/v2/nowhere",
    "/classify",
    "/v2/models/demo/config",
)


class Answers:
    """All that a server has said, by error code."""

    def __init__(self) -> None:
        self.codes: set[str] = set()
        self.texts: list[str] = []

    async def heard(self, answer: httpx.Response) -> None:
        text = (await answer.aread()).decode("utf-8", "replace")
        self.texts += [text, *(f"{name}: {value}" for name, value in answer.headers.items())]
        self.codes |= set(re.findall(r'"code":"(\w+)"', text))

    async def over_grpc(self, server: Running, photo: bytes, **options: Any) -> None:
        outcome = await server.rpc.classify(photo, **options)
        self.codes.add(outcome.code)
        self.texts.append(outcome.detail)

    def leaks(self) -> list[str]:
        return [text for text in self.texts if leaks(text)]


def leaks(text: str) -> bool:
    return bool(LEAK.search(text)) or str(REPOSITORY) in text


@asynccontextmanager
async def client(server: Running, answers: Answers) -> AsyncIterator[httpx.AsyncClient]:
    address = f"http://127.0.0.1:{server.http_port}"
    hooks: Any = {"response": [answers.heard]}
    async with httpx.AsyncClient(base_url=address, timeout=60, event_hooks=hooks) as http:
        yield http


@pytest.fixture
def answers() -> Iterator[Answers]:
    found = Answers()
    yield found
    assert not found.leaks()


@pytest.mark.parametrize(
    "text",
    [
        "OSError: /tmp/x/model.onnx",
        f"'{REPOSITORY}/model_repository' cannot be read",
        'File "server/rest/face.py", line 3',
        "<object at 0x7f35401ce0d0>",
        SECRET,
    ],
)
def test_a_leak_would_be_found(text: str) -> None:
    assert leaks(text)
    assert not leaks("Send image/*, or see https://sesame.example/docs: /models and application/json.")


async def test_no_error_of_a_request_leaks(demo: Path, answers: Answers) -> None:
    settings: dict[str, Any] = {"max_image_bytes": 100_000, "max_pixels": 200_000, "admin_token": TOKEN}
    async with running(demo.parents[1], **settings) as server, client(server, answers) as http:
        for content, headers in (
            (b"", {}),
            (b"{", {"Content-Type": "application/json"}),
            (b"x", {"Content-Type": "multipart/form-data; boundary=/tmp"}),
            (b"x", {"Content-Type": "text//etc/passwd"}),
            (b"no photo", {}),
            (bytes(100_001), {}),
            (jpeg()[:400], {}),
            (jpeg(width=600, height=400), {}),
            (jpeg(), {"X-Request-Timeout-Ms": "soon"}),
            (jpeg(), {"X-Request-Timeout-Ms": "1"}),
        ):
            await http.post("/classify", content=content, headers=headers)
            await http.post("/explain", content=content, headers=headers)
            await http.post("/v2/models/demo/infer", content=content, headers=headers)
        for path in ("/nowhere", "/page/../../etc/passwd", "/page/%2e%2e/site.py", "/models/..%2f..%2f", *_PATHS):
            await http.get(path)
        await http.post("/classify", params={"model": "none", "version": "x"}, content=jpeg())
        await http.post("/admin/models/demo/load")
        await http.post("/admin/models/demo/load", headers={"Authorization": "Bearer wrong"})
        await http.post("/admin/models/none/load", headers=BEARER)
        await http.put("/admin/aliases/stable", headers=BEARER, content=b"{")
        await http.put("/admin/aliases/demo", headers=BEARER, content=b'{"model": "demo"}')
        await http.get("/", headers={"x": "y" * 70_000})
        for photo in (b"", b"no photo", jpeg()[:400], jpeg(width=600, height=400)):
            await answers.over_grpc(server, photo)
        await answers.over_grpc(server, jpeg(), model="none")
        _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.transport.abort()
    assert answers.codes >= {
        Code.MALFORMED, Code.UNAUTHORIZED, Code.FORBIDDEN, Code.UNKNOWN_MODEL, Code.UNKNOWN_PATH, Code.TOO_LARGE,
        Code.METHOD_NOT_ALLOWED, Code.HEADERS_TOO_LARGE, Code.UNSUPPORTED_TYPE, Code.BAD_IMAGE, Code.TOO_MANY_PIXELS,

    }  # fmt: skip


async def test_no_error_of_the_server_leaks(demo: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"max_wait_ms": 1, "queue_images": 1, "max_images": 1}
    async with held(demo, **settings) as (server, engine), client(server, answers) as http:
        first = asyncio.create_task(http.post("/classify", content=jpeg(1)))
        await asyncio.to_thread(engine.entered.wait)
        await http.post("/classify", content=jpeg(2))  # no permit is left
        await http.post("/v2/models/demo/infer", content=b"{}")
        await answers.over_grpc(server, jpeg(2))
        engine.failing = True
        engine.gate.release(1000)
        await first
        await answers.over_grpc(server, jpeg(3))
        await http.get("/readyz")

        async def mistaken(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"{SECRET} is not there")

        monkeypatch.setattr(Classifier, "infer", mistaken)
        await http.post("/classify", content=jpeg(4))
        await answers.over_grpc(server, jpeg(4))
        monkeypatch.undo()

        def broken(*_: Any) -> None:
            raise RuntimeError(f"{SECRET} has no pixels")

        monkeypatch.setattr(images, "decode", broken)
        await http.post("/classify", content=jpeg(5))
        server.app.parts.lifecycle.break_down()
        await http.get("/livez")
        await http.get("/readyz")
    assert answers.codes >= {Code.QUEUE_FULL, Code.ENGINE_FAILED, Code.INTERNAL}


async def test_no_model_that_fails_leaks(demo: Path, tmp_path: Path, answers: Answers) -> None:
    root = tmp_path / "secret place"
    for version in ("1", "2", "3"):
        shutil.copytree(demo, root / "demo" / version)
    (root / "demo" / "2" / "labels.tsv").unlink()
    manifest = root / "demo" / "3" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "1"', '"version": "3"'))

    def choose_one(bundle: Bundle) -> Choice:
        if bundle.manifest.version == "3":
            raise RuntimeError(f"{SECRET} cannot be opened")
        return choose(bundle)

    async with running(root, choose_one, keep_versions=0, admin_token=TOKEN) as server, client(server, answers) as http:
        for path in ("/models", "/models/demo", "/readyz", "/models/demo/ready", "/v2/models/stats"):
            await http.get(path)
        for version in ("2", "3"):
            failed = await http.post(f"/admin/models/demo/load?version={version}", headers=BEARER)
            assert failed.status_code == 409
            await http.post("/classify", params={"model": "demo", "version": version}, content=jpeg())
        (root / "aliases.json").mkdir()  # cannot be read
        for method in ("PUT", "DELETE"):
            await http.request(method, "/admin/aliases/stable", headers=BEARER, content=b'{"model": "demo"}')
    assert answers.codes >= {Code.CONFLICT, Code.NOT_READY}


async def test_a_folder_that_cannot_be_read_is_named_without_where_it_lies(
    demo: Path, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repository"
    shutil.copytree(demo, root / "demo" / "1")
    async with running(root, admin_token=TOKEN) as server, client(server, answers) as http:

        def denied(root: Path) -> None:
            raise PermissionError(13, "Permission denied", str(root / "demo"))

        monkeypatch.setattr(files, "find", denied)
        failed = await http.post("/admin/models/demo/load", headers=BEARER)
        assert "'repository/demo' cannot be read (Permission denied)" in failed.json()["detail"]
