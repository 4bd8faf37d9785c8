"""A web server can redirect and lie; it gets credentials only if they are its own, and nobody else sees them."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remote.errors import Absent, CannotList, RemoteError, Unreachable
from remote.store import content
from remote.stores.opening import open_store
from remote.urls import is_url, redacted
from tests.support.clock import Clock
from tests.support.web_files import WebFiles, web_files


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebFiles]:
    (tmp_path / "file").write_bytes(b"content")
    with web_files(tmp_path) as web:
        yield web


def to(address: str, status: int = 302) -> Any:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", address)
        handler.end_headers()
        handler.wfile.write(bytes(1 << 16))

    return redirect


def with_user(url: str) -> str:
    return url.replace("://", "://someone:hush@")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(web: WebFiles, status: int) -> None:
    web.special["/here"] = to("/file", status)
    assert content(open_store(web.url), "here", 100) == b"content"


def test_a_password_goes_to_its_own_host_and_not_where_that_redirects(web: WebFiles, tmp_path: Path) -> None:
    with web_files(tmp_path) as other:
        web.special |= {"/away": to(f"{other.url}/file"), "/here": to("/file")}
        assert content(open_store(with_user(web.url)), "here", 100) == b"content"
        assert [authorization for _, _, authorization in web.asked] == ["Basic c29tZW9uZTpodXNo"] * 2
        assert content(open_store(with_user(web.url)), "away", 100) == b"content"
        assert [authorization for _, _, authorization in other.asked] == [""]


def test_a_loop_of_redirects_ends(web: WebFiles) -> None:
    web.special["/loop"] = to("/loop")
    with pytest.raises(RemoteError, match="redirects more than 10 times"):
        content(open_store(web.url), "loop", 100)
    assert len(web.asked) == 10


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "s3://bucket/x", "http://[::1"])
def test_a_redirect_to_anything_but_http_is_refused(web: WebFiles, address: str) -> None:
    web.special["/away"] = to(address)
    with pytest.raises(RemoteError, match=r"refused|nowhere"):
        content(open_store(web.url), "away", 100)


def test_a_query_is_kept_for_every_file_and_shown_to_nobody(web: WebFiles) -> None:
    store = open_store(f"{web.url}?token=hush")
    assert content(store, "file", 100) == b"content"
    assert web.asked[0][0] == "/file?token=hush"
    with pytest.raises(Absent) as caught:
        content(store, "nothing", 100)
    assert "hush" not in str(caught.value)
    assert "hush" not in store.url


def refuse(status: int) -> Any:
    return lambda handler: handler.send_error(status, "hush")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, RemoteError), (403, RemoteError), (404, Absent), (429, Unreachable), (503, Unreachable)]
)
def test_an_error_says_what_it_is_and_no_credential(web: WebFiles, status: int, kind: type[RemoteError]) -> None:
    web.special["/file"] = refuse(status)
    with pytest.raises(RemoteError) as caught:
        content(open_store(f"{with_user(web.url)}?token=hush"), "file", 100)
    assert type(caught.value) is kind
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_server_that_is_not_there_is_unreachable_without_its_password() -> None:
    with pytest.raises(Unreachable) as caught:
        content(open_store("http://someone:hush@127.0.0.1:1/models?token=hush"), "file", 100)
    assert "http://127.0.0.1:1/models cannot be reached (Connection refused): try again later" in str(caught.value)


def test_a_part_that_begins_elsewhere_is_not_taken_for_the_asked_one(web: WebFiles) -> None:
    def wrong(handler: BaseHTTPRequestHandler) -> None:
        whole = "Range" not in handler.headers
        handler.send_response(200 if whole else 206)
        if not whole:
            handler.send_header("Content-Range", "bytes 1-6/7")
        handler.send_header("Content-Length", "7")
        handler.end_headers()
        handler.wfile.write(b"content")

    web.special["/file"] = wrong
    reading = open_store(web.url).read("file", 3)
    assert (reading.start, b"".join(reading.chunks)) == (0, b"content")


def test_a_server_that_sends_byte_by_byte_is_given_up(web: WebFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("remote.stores.web.time", SimpleNamespace(monotonic=clock))
    chunks = open_store(web.url).read("file").chunks
    clock.now_s = 61
    with pytest.raises(Unreachable, match="sent 7 bytes of file in 61 s"):
        next(chunks)


def test_plain_http_has_no_listing(web: WebFiles) -> None:
    with pytest.raises(CannotList):
        next(open_store(web.url).items())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/models", "s3://bucket/models"),
        ("hf://owner/name@main/x", "hf://owner/name@main/x"),
        ("https://u:p@ss@host/x?sig=s#t is down", "https://…@host/x?… is down"),
        ("see 'http://u@h:1/a' and http://h/b?c=d.", "see 'http://…@h:1/a' and http://h/b?…"),
    ],
)
def test_texts_are_shown_without_credentials(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("text", "url"),
    [("s3://b/c", True), ("file:///x", True), ("model_repository", False), ("/a/b://c", False), ("C:\\x", False)],
)
def test_a_url_is_told_from_a_path(text: str, url: bool) -> None:
    assert is_url(text) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://u:hush@host/x", r"ftp://…@host/x has an unknown scheme: it must be s3, gs"),
        ("https:///models", "has no host"),
        ("http://u:hush@host:port/x", "cannot be understood"),
        ("hf://only", "write it as hf://owner/name"),
    ],
)
def test_a_url_that_is_none_is_told_with_its_cure(url: str, message: str) -> None:
    with pytest.raises(RemoteError, match=message) as caught:
        open_store(url)
    assert "hush" not in str(caught.value)
