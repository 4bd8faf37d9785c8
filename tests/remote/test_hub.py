"""The Hugging Face hub is read over its HTTP API, page by page, with a token for its own host."""

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from remote.errors import RemoteError
from remote.listing import listing
from remote.pull import pull
from remote.stores.opening import open_store
from tests.support.web_files import WebFiles, web_files

TREE = "/api/models/owner/name/tree/main"


@pytest.fixture
def hub(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebFiles]:
    """A server that answers as the hub does, for a repository with the demo in its folder `models`."""
    shutil.copytree(demo, tmp_path / "owner" / "name" / "resolve" / "main" / "models" / "demo" / "1")
    with web_files(tmp_path) as web:
        rows = [
            {"type": "file", "path": f"models/demo/1/{path.name}", "size": path.stat().st_size, "oid": path.name}
            for path in sorted(demo.iterdir())
        ]
        folder = {"type": "directory", "path": "models/demo", "size": 0, "oid": "x"}

        def tree(handler: BaseHTTPRequestHandler) -> None:
            second = "cursor=2" in handler.path
            body = json.dumps([folder, *rows[2:]] if second else rows[:2]).encode()
            handler.send_response(200)
            if not second:
                handler.send_header("Link", f'<{web.url}{TREE}/models?recursive=true&cursor=2>; rel="next"')
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        web.special[f"{TREE}/models"] = tree
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        monkeypatch.setenv("HF_TOKEN", "hush")
        yield web


def test_a_bundle_comes_from_the_hub(hub: WebFiles, demo: Path, tmp_path: Path) -> None:
    store = open_store("hf://owner/name/models")
    (version,) = listing(store).versions
    assert len(version.items) == 5
    assert pull(store, version, tmp_path / "here")
    assert (tmp_path / "here" / "demo" / "1" / "model.onnx").read_bytes() == (demo / "model.onnx").read_bytes()
    assert {authorization for _, _, authorization in hub.asked} == {"Bearer hush"}


def test_a_listing_that_goes_on_elsewhere_is_refused(hub: WebFiles) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Link", '<http://127.0.0.1:1/x>; rel="next"')
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"[]")

    hub.special[f"{TREE}/models"] = elsewhere
    with pytest.raises(RemoteError, match="another host"):
        listing(open_store("hf://owner/name/models"))


@pytest.mark.parametrize("body", [b"{", b"{}", b"[1]", b'[{"type": "file"}]', b"[" * 100_000])
def test_a_listing_that_is_none_is_refused(hub: WebFiles, body: bytes) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    hub.special[f"{TREE}/models"] = answer
    with pytest.raises(RemoteError, match=r"not understood|holds no file"):
        listing(open_store("hf://owner/name/models"))
