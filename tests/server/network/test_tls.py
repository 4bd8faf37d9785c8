"""TLS on both faces: whom clients believe, and whom the server lets in."""

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from server.rest import handshake
from server.rpc import server_options
from tests.support.certificates import Authority, Issued, TlsClient
from tests.support.faces import Running, held, running
from tests.support.loops import BOTH_LOOPS
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
both_faces = pytest.mark.parametrize("face", ["rest", "rpc"])


async def outcome(server: Running, face: str, client: TlsClient, host: str = "127.0.0.1") -> str:
    """What comes of a photo over a connection of its own: "ok", "refused" or an error code."""
    if face == "rest":
        try:
            async with httpx.AsyncClient(verify=client.context(), timeout=60) as http:
                answer = await http.post(f"https://{host}:{server.http_port}/classify", content=jpeg())
        except httpx.TransportError:
            return "refused"
        return "ok" if answer.status_code == 200 else str(answer.status_code)
    async with client.channel(server.grpc_port, host) as channel:
        try:
            listing: Any = channel.unary_unary("/sesame.v1.ImageClassifier/ListModels")
            await listing(b"", timeout=30)
        except grpc.aio.AioRpcError as error:
            return "refused" if error.code() is grpc.StatusCode.UNAVAILABLE else str(error.code())
    return "ok"


@both_faces
@BOTH_LOOPS
async def test_a_photo_is_classified_over_tls(face: str, demo: Path, authority: Authority, good: Issued) -> None:
    async with running(demo.parents[1], tls=authority.client(), **good.settings) as server:
        answered = await server.client(face).classify(jpeg(), top_k=3)
        assert len(answered.predictions) == 3


@both_faces
async def test_a_client_that_does_not_know_the_ca_refuses(
    face: str, demo: Path, authority: Authority, other_authority: Authority, good: Issued
) -> None:
    async with running(demo.parents[1], tls=authority.client(), **good.settings) as server:
        assert await outcome(server, face, authority.client()) == "ok"
        assert await outcome(server, face, other_authority.client()) == "refused"
        assert await outcome(server, face, authority.client()) == "ok"


@both_faces
@pytest.mark.parametrize(
    ("name", "days", "addresses"),
    [
        ("expired", {"from_days": -3, "until_days": -1}, "IP:127.0.0.1"),
        ("not-yet-valid", {"from_days": 1, "until_days": 3}, "IP:127.0.0.1"),
        ("of-another-host", {}, "DNS:elsewhere.example"),
    ],
)
async def test_clients_refuse_a_certificate_with_wrong_dates_or_a_wrong_name(
    name: str, days: dict[str, Any], addresses: str, face: str, demo: Path, authority: Authority,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    issued = authority.issue(name, addresses, **days)
    async with running(demo.parents[1], wait=False, tls=authority.client(), **issued.settings) as server:
        assert await outcome(server, face, authority.client()) == "refused"
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([line for line in told if line.startswith("TLS: the certificate")]) == (1 if days else 0)


@both_faces
async def test_with_a_client_ca_only_its_certificates_are_let_in(
    face: str, demo: Path, authority: Authority, other_authority: Authority, good: Issued
) -> None:
    known, foreign = authority.issue("client", usage="clientAuth"), other_authority.issue("client", usage="clientAuth")
    late = authority.issue("late-client", usage="clientAuth", from_days=-3, until_days=-1)
    settings = {**good.settings, "tls_client_ca": str(authority.certificate)}
    async with running(demo.parents[1], tls=authority.client(known), **settings) as server:
        assert await outcome(server, face, authority.client(known)) == "ok"
        for refused in (None, foreign, late, good):  # the last one is no client's
            assert await outcome(server, face, authority.client(refused)) == "refused"
        assert await outcome(server, face, authority.client(known)) == "ok"


@both_faces
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_tls_1_1_is_refused(
    version: ssl.TLSVersion, face: str, demo: Path, authority: Authority, good: Issued
) -> None:
    async with running(demo.parents[1], wait=False, tls=authority.client(), **good.settings) as server:
        context = authority.client().context()
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.set_alpn_protocols(["http/1.1" if face == "rest" else "h2"])
        port = server.http_port if face == "rest" else server.grpc_port
        refused = version is ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)) if refused else contextlib.nullcontext():
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            spoken = writer.get_extra_info("ssl_object").version()
            writer.transport.abort()
            assert spoken == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]


@pytest.mark.parametrize("leave", ["abort", "close"])
@BOTH_LOOPS
async def test_a_client_that_leaves_takes_its_work_with_it(
    leave: str, demo: Path, authority: Authority, good: Issued
) -> None:
    async with held(demo, tls=authority.client(), **good.settings) as (server, engine):
        context = authority.client().context()
        first = asyncio.create_task(server.rest.classify(jpeg(1)))
        await asyncio.to_thread(engine.entered.wait)
        _, writer = await asyncio.open_connection("127.0.0.1", server.http_port, ssl=context)
        photo = jpeg(2)
        writer.write(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(photo), photo))
        await server.until("sesame_permits_taken", 2)
        getattr(writer.transport, leave)()  # without a word, or with the end of TLS
        await server.until("sesame_permits_taken", 1)
        assert await server.metric("sesame_requests_total", 'outcome="gone"') == 1
        engine.gate.release(1000)
        assert not (await first).code


@BOTH_LOOPS
async def test_a_client_without_a_handshake_counts_and_is_dropped(
    demo: Path, authority: Authority, good: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed for a new connection, as an idle one is, and at the latest when its time has passed."""
    async with running(demo.parents[1], tls=authority.client(), max_connections=2, **good.settings) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.http_port) for _ in range(4)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in silent]
        done, _ = await asyncio.wait_for(asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED), 60)
        assert done
        assert await outcome(server, "rest", authority.client()) == "ok"
        for _, writer in silent:
            writer.transport.abort()
        await asyncio.wait(ended)
        monkeypatch.setattr(handshake, "HANDSHAKE_S", 0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.write(b"\x16\x03\x01")  # the beginning of one
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()
        assert await outcome(server, "rest", authority.client()) == "ok"


@BOTH_LOOPS
async def test_requests_and_what_follows_the_handshake_at_once_are_answered_in_turn(
    demo: Path, authority: Authority, good: Issued
) -> None:
    async with running(demo.parents[1], tls=authority.client(), **good.settings) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port, ssl=authority.client().context())
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(len(b'{"live":true}'))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nx: " + bytes(70_000).replace(b"\0", b"a"))
        assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 431 ")
        writer.transport.abort()


async def test_plain_text_to_a_port_with_tls_is_refused(demo: Path, authority: Authority, good: Issued) -> None:
    async with running(demo.parents[1], wait=False, tls=authority.client(), **good.settings) as server:
        async with httpx.AsyncClient(timeout=60) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://127.0.0.1:{server.http_port}/livez")
        assert await outcome(server, "rest", authority.client()) in ("ok", "503")


async def test_grpc_drops_a_client_without_a_handshake_and_counts_it(
    demo: Path, authority: Authority, good: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_options, "_HANDSHAKE_MS", 2000)
    async with running(demo.parents[1], tls=authority.client(), max_connections=2, **good.settings) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.grpc_port) for _ in range(4)]
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()
        assert await outcome(server, "rpc", authority.client()) == "ok"
