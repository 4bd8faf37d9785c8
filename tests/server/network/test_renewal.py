"""Files of TLS that are renewed while the server runs."""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.network.certificates import Certificates
from server.network.key_pair import TlsError, TlsFiles
from server.settings import Settings, SettingsError
from tests.support.certificates import Authority, Issued, TlsClient
from tests.support.faces import Running, running
from tests.support.loops import BOTH_LOOPS
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio


class Asking:
    """Clients of both faces that ask without a pause, over one connection and over a new one each time."""

    def __init__(self, server: Running, client: TlsClient) -> None:
        self.seen: Counter[str] = Counter()
        self._ended = False
        kept = [self._ask(f"{face} kept", server.client(face).classify) for face in ("rest", "rpc")]
        self._tasks = [asyncio.create_task(each) for each in (*kept, self._new_rest(server, client),
                                                              self._new_rpc(server, client))]  # fmt: skip

    async def _ask(self, kind: str, classify: Callable[..., Any]) -> None:
        while not self._ended:
            answered = await classify(jpeg())
            self.seen[f"{kind} {answered.code or 'ok'}"] += 1

    async def _new_rest(self, server: Running, client: TlsClient) -> None:
        context = client.context()
        while not self._ended:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port, ssl=context)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            status = (await reader.read()).split(b" ", 2)[1]
            writer.close()
            self.seen["rest new ok" if status == b"200" else f"rest new {status!r}"] += 1

    async def _new_rpc(self, server: Running, client: TlsClient) -> None:
        while not self._ended:
            async with client.channel(server.grpc_port) as channel:
                listing: Any = channel.unary_unary("/sesame.v1.ImageClassifier/ListModels")
                await listing(b"")
            self.seen["rpc new ok"] += 1

    async def go_on(self) -> None:
        """Until each kind has been answered twice more: once it began before this call, once after."""
        enough = {kind: count + 2 for kind, count in self.seen.items()}
        while len(self.seen) < 4 or any(self.seen[kind] < count for kind, count in enough.items()):
            await asyncio.sleep(0.01)
            for task in self._tasks:
                if task.done():
                    task.result()

    async def end(self) -> None:
        self._ended = True
        await asyncio.gather(*self._tasks)


async def serial_numbers(server: Running, client: TlsClient) -> set[str]:
    """Of the certificates that both faces show to a new connection."""
    context = client.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    found = set()
    for port in (server.http_port, server.grpc_port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found.add(str(writer.get_extra_info("peercert")["serialNumber"]))
        writer.transport.abort()
    return found


@BOTH_LOOPS
async def test_renewed_files_are_taken_without_a_failed_request(
    demo: Path, authority: Authority, renewable: Issued
) -> None:
    client = authority.client()
    async with running(demo.parents[1], tls=client, **renewable.settings) as server:
        asking = Asking(server, client)
        seen = [await serial_numbers(server, client)]
        for number in range(2):
            await asking.go_on()
            authority.issue(f"renewed-{number}").copy_to(renewable)
            while (now := await serial_numbers(server, client)) & seen[-1]:
                await asking.go_on()
            seen.append(now)
        await asking.go_on()
        await asking.end()
        assert [len(each) for each in seen] == [1, 1, 1]  # both faces show the same
        assert set(asking.seen) == {"rest kept ok", "rpc kept ok", "rest new ok", "rpc new ok"}


async def test_a_renewed_client_ca_lets_in_other_clients(
    demo: Path, authority: Authority, other_authority: Authority, good: Issued, tmp_path: Path
) -> None:
    mine = authority.client(authority.issue("old-client", usage="clientAuth"))
    theirs = TlsClient(authority.certificate, other_authority.issue("new-client", usage="clientAuth"))
    client_ca = tmp_path / "clients.pem"
    client_ca.write_bytes(authority.certificate.read_bytes())
    async with running(demo.parents[1], tls=mine, **good.settings, tls_client_ca=str(client_ca)) as server:
        assert await let_in(server, mine) == {"rest", "rpc"}
        assert await let_in(server, theirs) == set()
        assert not (await server.rpc.classify(jpeg())).code
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port, ssl=mine.context())
        resuming = [Resuming(mine, port) for port in (server.http_port, server.grpc_port)]
        for each in resuming:
            assert [await asyncio.to_thread(each.connect) for _ in range(2)] == [False, True]
        (tmp_path / "new.pem").write_bytes(other_authority.certificate.read_bytes())
        (tmp_path / "new.pem").replace(client_ca)
        while await let_in(server, theirs) != {"rest", "rpc"}:
            await asyncio.sleep(0.05)
        assert await let_in(server, mine) == set()
        for each in resuming:
            with pytest.raises(OSError):
                await asyncio.to_thread(each.connect)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")  # connections that are open stay
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()
        assert not (await server.rpc.classify(jpeg())).code


class Resuming:
    """A client that takes up its first TLS 1.2 connection again, without showing a certificate anew."""

    def __init__(self, client: TlsClient, port: int) -> None:
        self._context = client.context()
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._port = port
        self._session: ssl.SSLSession | None = None

    def connect(self) -> bool | None:
        """Whether the server has taken it up. Raises OSError where it refuses."""
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=60) as plain,
            self._context.wrap_socket(plain, server_hostname="127.0.0.1", session=self._session) as over_tls,
        ):
            self._session = self._session or over_tls.session
            return over_tls.session_reused


async def let_in(server: Running, client: TlsClient) -> set[str]:
    """The faces that let a new connection of this client in."""
    found = set()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port, ssl=client.context())
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        found |= {"rest"} if await reader.read() else set()
        writer.transport.abort()
    except OSError:
        pass
    async with client.channel(server.grpc_port) as channel:
        listing: Any = channel.unary_unary("/sesame.v1.ImageClassifier/ListModels")
        try:
            await listing(b"", timeout=30)
            found.add("rpc")
        except Exception:
            pass
    return found


def watched(issued: Issued, client_ca: Path | None = None) -> Certificates:
    return Certificates(TlsFiles(issued.certificate, issued.key, client_ca))


BROKEN: dict[str, tuple[str, Callable[[Issued, Issued], object]]] = {
    "another key": ("is not the key of", lambda files, other: files.key.write_bytes(other.key.read_bytes())),
    "half a certificate": (
        "are not a certificate and its key in PEM",
        lambda files, other: files.certificate.write_bytes(other.certificate.read_bytes()[:300]),
    ),
    "no file": ("cannot be read", lambda files, other: files.key.unlink()),
    "an empty file": (
        "are not a certificate and its key in PEM",
        lambda files, other: files.certificate.write_bytes(b""),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_renewal_keeps_the_old_pair_and_is_told_once(
    name: str, authority: Authority, renewable: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    message, break_it = BROKEN[name]
    certificates = watched(renewable)
    old = certificates.newest
    other = authority.issue("other")
    break_it(renewable, other)
    for _ in range(5):
        certificates.look()
        assert certificates.newest is old
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert message in told[0]
    assert "the old certificate stays" in told[0]
    other.copy_to(renewable)
    certificates.look()
    assert certificates.newest.certificate == other.certificate.read_bytes()


def test_files_that_are_being_written_are_not_told(
    authority: Authority, renewable: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = watched(renewable)
    other = authority.issue("written")
    renewable.key.write_bytes(other.key.read_bytes())
    certificates.look()  # between the key and its certificate
    renewable.certificate.write_bytes(other.certificate.read_bytes())
    certificates.look()
    assert certificates.newest.certificate == other.certificate.read_bytes()
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_an_expired_renewal_is_not_taken_and_a_good_one_replaces_an_expired_one(
    authority: Authority, renewable: Issued
) -> None:
    expired = authority.issue("expired-renewal", from_days=-3, until_days=-1)
    certificates = watched(renewable)
    old = certificates.newest
    expired.copy_to(renewable)
    certificates.look()
    assert certificates.newest is old
    late = watched(renewable)  # a server that starts with it
    assert "expired on" in late.newest.complaint()
    authority.issue("in time").copy_to(renewable)
    for each in (certificates, late):
        each.look()
        assert not each.newest.complaint()
        assert each.newest.certificate == renewable.certificate.read_bytes()


def test_a_certificate_that_ends_soon_is_told_once(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    certificates = watched(authority.issue("ending", until_days=3))
    certificates.look()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert "the certificate expires on" in told[0]


def test_files_that_cannot_be_used_at_the_start_are_named_with_the_cure(
    authority: Authority, good: Issued, tmp_path: Path
) -> None:
    with pytest.raises(TlsError, match="not a certificate and its key in PEM"):
        watched(Issued(good.key, good.certificate))
    with pytest.raises(TlsError, match=r"nowhere\.pem cannot be read"):
        watched(Issued(tmp_path / "nowhere.pem", good.key))
    with pytest.raises(TlsError, match="has no CA certificate in PEM"):
        watched(good, good.key)
    with pytest.raises(TlsError, match="is refused by clients"):
        watched(authority.issue("of a client", usage="clientAuth"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_cert": "a"}, "tls_cert and tls_key belong together"),
        ({"tls_key": "a"}, "tls_cert and tls_key belong together"),
        ({"tls_client_ca": "a"}, "tls_client_ca needs TLS"),
        ({"root_path": "sesame"}, "root_path must be like /sesame"),
        ({"root_path": "/sesame/"}, "root_path must be like /sesame"),
        ({"cors_origins": "https://a.example/"}, "cors_origins has 'https://a.example/'"),
        ({"cors_origins": "a.example"}, "cors_origins has 'a.example'"),
        ({"trusted_proxies": "10.0.0.1/8"}, "trusted_proxies has '10.0.0.1/8'"),
        ({"trusted_proxies": "nginx"}, "trusted_proxies has 'nginx'"),
        ({"admin_port": -1}, "admin_port must be from 0 to 65535"),
    ],
)
def test_settings_that_do_not_fit_together_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings(**given)
