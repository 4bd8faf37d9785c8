"""The files of the page: what they are allowed, and how they are answered."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.support.faces import running

pytestmark = pytest.mark.anyio
FOLDER = REPOSITORY / "server" / "page" / "files"
FILES = sorted(path.name for path in FOLDER.iterdir())
PATHS = ["/", *(f"/page/{name}" for name in FILES if name != "index.html")]


@pytest.fixture(scope="module")
async def http(anyio_backend: object, demo: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(demo.parents[1]) as server:
        yield server.rest.http


@pytest.mark.parametrize("path", PATHS)
async def test_every_file_is_answered_with_its_type_and_a_strict_policy(path: str, http: httpx.AsyncClient) -> None:
    answer = await http.get(path)
    kinds = {"": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].split(";")[0] == kinds[path.rpartition(".")[2] if "." in path else ""]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


@pytest.mark.parametrize("path", PATHS)
async def test_a_browser_that_has_the_newest_file_is_not_sent_it_again(path: str, http: httpx.AsyncClient) -> None:
    first = await http.get(path)
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = await http.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await http.get(path, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*"])
async def test_whoever_asks_for_the_root_gets_the_page(accept: str, http: httpx.AsyncClient) -> None:
    got, told = [await http.request(method, "/", headers={"Accept": accept}) for method in ("GET", "HEAD")]
    assert (got.status_code, told.status_code, told.content) == (200, 200, b"")
    assert told.headers["content-length"] == str(len(got.content))
    assert 'href="docs"' in got.text


async def test_what_is_not_a_file_of_the_page_is_not_there(http: httpx.AsyncClient) -> None:
    for path in ("/page", "/page/", "/page/index.html", "/page/site.py", "/page/..%2fsite.py", "/page/%2e%2e/site.py"):
        assert (await http.get(path)).status_code == 404, path
    refused = await http.post("/page/app.js")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_a_front_behind_a_path_of_a_proxy_works(http: httpx.AsyncClient) -> None:
    """No address begins with a slash, so `https://host/sesame/` finds its files and its API."""
    page = (await http.get("/")).text
    linked = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert {f"/{link}" for link in linked if link.startswith("page/")} <= set(PATHS)
    assert not [link for link in linked if link.startswith("/")]


@pytest.mark.parametrize("name", FILES)
def test_no_file_loads_from_elsewhere_or_makes_html_of_text(name: str) -> None:
    text = (FOLDER / name).read_text()
    text = text.replace("http://www.w3.org/2000/svg", "")  # SVG's name, which nothing loads
    assert not re.findall(r"https?://|@import|\burl\(", text)
    assert not re.findall(r"\son\w+=|\sstyle=|javascript:|innerHTML|outerHTML|insertAdjacentHTML|eval\(", text)
    for imported in re.findall(r'from "([^"]*)"', text):
        assert (FOLDER / imported).is_file()


def test_every_module_of_the_page_is_used() -> None:
    texts = {name: (FOLDER / name).read_text() for name in FILES}
    unused = {name for name in FILES if not any(name in text for other, text in texts.items() if other != name)}
    assert unused == {"index.html"}
