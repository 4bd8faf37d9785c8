"""The admin port, the Unix socket, pages of other origins, the path of a proxy, and headers for security."""

import asyncio
import socket
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.host.listening import CannotListen
from server.network.unix_socket import UnixSocket
from server.settings import Settings
from server.startup.weaknesses import weaknesses
from tests.support.certificates import Authority, Issued
from tests.support.faces import Running, held, running
from tests.support.loops import BOTH_LOOPS
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
TOKEN = "a token of 16 characters and more"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PAGE = "https://pages.example"


def caller(server: Running) -> httpx.AsyncClient:
    """One that may send what the API's document does not have."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}", timeout=60)


def admin_address(server: Running) -> str:
    listeners = server.app.listeners
    assert listeners and listeners.admin
    return f"127.0.0.1:{listeners.admin.getsockname()[1]}"


@BOTH_LOOPS
async def test_admin_and_metrics_are_only_at_the_admin_port(demo: Path) -> None:
    async with (
        running(demo.parents[1], admin_port=0, admin_token=TOKEN) as server,
        httpx.AsyncClient(base_url=f"http://{admin_address(server)}", timeout=60) as admin,
    ):
        for path in ("/metrics", "/livez", "/readyz", "/openapi.json", "/docs"):
            assert (await admin.get(path)).status_code == 200, path
        main = server.rest.http
        assert (await main.get("/metrics")).status_code == 404
        for client, status in ((main, 404), (admin, 200)):
            loaded = await client.post("/admin/models/demo/load", headers=BEARER)
            assert loaded.status_code == status
        assert (await admin.post("/admin/models/demo/load")).status_code == 401
        assert (await main.post("/v2/repository/models/demo/load", headers=BEARER)).status_code == 403
        for path in ("/livez", "/readyz", "/models"):
            assert (await main.get(path)).status_code == 200, path
        for path in ("/models", "/", "/classify", "/v2"):
            assert (await admin.get(path)).status_code == 404, path
        assert "metrics" not in (await main.get("/")).text
        assert "sesame_requests_total" in (await admin.get("/metrics")).text


async def test_without_an_admin_port_all_is_as_before(demo: Path) -> None:
    async with running(demo.parents[1], admin_token=TOKEN) as server:
        assert server.app.listeners and server.app.listeners.admin is None
        assert (await server.rest.http.get("/metrics")).status_code == 200
        assert (await server.rest.http.post("/v2/repository/models/demo/load", headers=BEARER)).status_code == 200
        assert "metrics" in (await server.rest.http.get("/")).text


async def test_the_admin_port_has_tls_too(demo: Path, authority: Authority, good: Issued) -> None:
    async with running(demo.parents[1], tls=authority.client(), admin_port=0, **good.settings) as server:
        address = admin_address(server)
        async with httpx.AsyncClient(verify=authority.client().context(), timeout=60) as admin:
            assert (await admin.get(f"https://{address}/metrics")).status_code == 200
            with pytest.raises(httpx.TransportError):
                await admin.get(f"http://{address}/metrics")


@BOTH_LOOPS
async def test_rest_listens_on_a_unix_socket_too(demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "sesame.sock"
    async with running(demo.parents[1], uds=str(path)) as server:
        found = path.lstat().st_mode
        assert stat.S_ISSOCK(found) and stat.S_IMODE(found) == 0o660
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=60) as http:
            answer = await http.post("/classify", content=jpeg())
            assert answer.status_code == 200
        assert not (await server.rest.classify(jpeg())).code
        with pytest.raises(CannotListen, match="Another server listens on"):
            UnixSocket(path)
    assert not path.exists()


async def test_a_client_that_leaves_the_unix_socket_takes_its_work_with_it(demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "sesame.sock"
    async with held(demo, uds=str(path)) as (server, engine):
        first = asyncio.create_task(server.rest.classify(jpeg(1)))
        await asyncio.to_thread(engine.entered.wait)
        _, writer = await asyncio.open_unix_connection(str(path))
        photo = jpeg(2)
        writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(photo), photo))
        await server.until("sesame_permits_taken", 2)
        writer.transport.abort()
        await server.until("sesame_permits_taken", 1)
        engine.gate.release(1000)
        assert not (await first).code


def test_a_socket_that_a_server_has_left_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "sesame.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    found = UnixSocket(path)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o660
    found.close()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(CannotListen, match="is not a socket"):
        UnixSocket(path)
    assert path.read_text() == "precious"
    path.unlink()
    (tmp_path / "link.sock").symlink_to(path)
    with pytest.raises(CannotListen, match="is not a socket"):
        UnixSocket(tmp_path / "link.sock")
    with pytest.raises(CannotListen, match="choose another path with --uds"):
        UnixSocket(tmp_path / "nowhere" / "sesame.sock")
    with pytest.raises(CannotListen, match="choose another path with --uds"):
        UnixSocket(tmp_path / ("x" * 120))


def test_a_file_that_has_taken_the_place_of_the_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "sesame.sock"
    mine = UnixSocket(path)
    path.replace(tmp_path / "moved")
    theirs = UnixSocket(path)
    mine.close()
    assert path.exists()
    theirs.close()


@pytest.mark.parametrize("origins", [f"https://other.example,{PAGE}", "*"])
async def test_pages_of_allowed_origins_may_call(origins: str, demo: Path) -> None:
    async with running(demo.parents[1], cors_origins=origins) as server, caller(server) as http:
        allowed = "*" if origins == "*" else PAGE
        asked = {
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type, x-request-timeout-ms",
        }
        for path in ("/classify", "/explain", "/v2/models/demo/infer", "/models"):
            told = await http.options(path, headers=asked)
            assert told.status_code == 204, path
            assert told.headers["access-control-allow-origin"] == allowed
            assert "POST" in told.headers["access-control-allow-methods"]
            assert told.headers["access-control-allow-headers"] == "content-type, x-request-timeout-ms"
            assert "access-control-allow-credentials" not in told.headers
        answers = [
            await http.post("/classify", content=jpeg(), headers={"Origin": PAGE}),
            await http.post("/classify", content=b"no photo", headers={"Origin": PAGE}),
            await http.post("/v2/models/none/infer", content=b"{}", headers={"Origin": PAGE}),
            await http.get("/nowhere", headers={"Origin": PAGE}),
            await http.get("/models", headers={"Origin": PAGE}),
        ]
        assert [answer.status_code for answer in answers] == [200, 415, 400, 404, 200]
        assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {allowed}
        assert {answer.headers.get("vary") for answer in answers} == {None if origins == "*" else "Origin"}
        for path in ("/metrics", "/admin/models/demo/load"):
            told = await http.options(path, headers=asked)
            assert "access-control-allow-origin" not in told.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://pages.example", f"{PAGE}.evil.example"])
async def test_pages_of_other_origins_may_not(origin: str, demo: Path) -> None:
    async with running(demo.parents[1], cors_origins=PAGE, wait=False) as server, caller(server) as http:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        for method in ("OPTIONS", "GET"):
            told = await http.request(method, "/models", headers=asked)
            assert "access-control-allow-origin" not in told.headers
            assert told.headers["vary"] == "Origin"


async def test_cors_does_not_hide_that_a_client_leaves(demo: Path) -> None:
    async with held(demo, cors_origins="*", trusted_proxies="127.0.0.0/8") as (server, engine):
        first = asyncio.create_task(server.rest.classify(jpeg(1)))
        await asyncio.to_thread(engine.entered.wait)
        _, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        photo = jpeg(2)
        head = b"POST /classify HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(photo) + photo)
        await server.until("sesame_permits_taken", 2)
        writer.transport.abort()
        await server.until("sesame_permits_taken", 1)
        engine.gate.release(1000)
        assert not (await first).code


async def test_behind_a_proxy_that_takes_a_path_off_the_document_says_so(demo: Path) -> None:
    async with running(demo.parents[1], root_path="/vision/sesame") as server:
        document = (await server.rest.http.get("/openapi.json")).json()
        assert document["servers"] == [{"url": "/vision/sesame"}]
        for path in ("/", "/docs"):
            page = await server.rest.http.get(path)
            assert page.status_code == 200
            assert not [line for line in page.text.splitlines() if 'src="/' in line or 'href="/' in line]
        assert not (await server.rest.classify(jpeg())).code
    async with running(demo.parents[1], wait=False) as server:
        assert "servers" not in (await server.rest.http.get("/openapi.json")).json()


async def test_every_answer_has_the_headers_for_security(demo: Path) -> None:
    async with running(demo.parents[1], admin_token=TOKEN) as server, caller(server) as http:
        answers = [
            await http.post("/classify", content=jpeg()),
            await http.post("/classify", content=b"no photo"),
            *[
                await http.get(path)
                for path in ("/", "/docs", "/models", "/metrics", "/nowhere", "/v2", "/page/app.js")
            ],
            await http.post("/admin/models/demo/load"),
            await http.put("/classify"),
        ]
        for answer in answers:
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"], answer
            assert answer.headers.get_list("cross-origin-resource-policy") == ["same-origin"], answer
            page = answer.url.path in ("/", "/page/app.js")
            assert answer.headers.get_list("cache-control") == ["no-cache" if page else "no-store"], answer
            assert "strict-transport-security" not in answer.headers
            if "html" in answer.headers["content-type"]:
                assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
                assert answer.headers["referrer-policy"] == "no-referrer"


async def test_only_tls_at_its_own_port_may_set_hsts(demo: Path, authority: Authority, good: Issued) -> None:
    async with running(demo.parents[1], wait=False, tls=authority.client(), **good.settings) as server:
        http = server.rest.http
        assert "strict-transport-security" not in (await http.get("/livez")).headers
        told = await http.get("/livez", headers={"Host": "sesame.example"})
        assert told.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, ""),
        ({"cors_origins": "https://a.example"}, ""),
        ({"cors_origins": "https://a.example, *"}, "cors_origins is *"),
        ({"trusted_proxies": "10.0.0.0/8,unix"}, ""),
        ({"trusted_proxies": "0.0.0.0/0"}, "trusted_proxies has all addresses"),
        ({"trusted_proxies": "::/0"}, "trusted_proxies has all addresses"),
        ({"admin_token": TOKEN}, ""),
        ({"host": "0.0.0.0"}, ""),
        ({"host": "0.0.0.0", "admin_token": TOKEN}, "the secrets of keys and operators cross the network"),
        ({"host": "0.0.0.0", "keys": Path("keys.toml")}, "the secrets of keys and operators cross the network"),
        ({"host": "0.0.0.0", "keys": Path("keys.toml"), "admin_port": 9000}, "the secrets of keys and operators cross"),
        ({"keys": Path("keys.toml")}, ""),
        ({"keys": Path("keys.toml"), "metrics_need_key": False}, "metrics_need_key is off"),
        ({"host": "0.0.0.0", "admin_token": TOKEN, "admin_port": 9000}, ""),
        ({"host": "0.0.0.0", "admin_token": TOKEN, "tls_cert": "a", "tls_key": "b"}, ""),
        ({"admin_port": 9000, "admin_host": "::"}, "the admin port is open to the network"),
    ],
)
def test_each_setting_that_lets_in_more_has_one_line(given: dict[str, Any], line: str) -> None:
    found = list(weaknesses(Settings(**given), has_secrets=bool(given.keys() & {"admin_token", "keys"})))
    assert len(found) == (1 if line else 0)
    assert all(each.startswith(line) for each in found)
