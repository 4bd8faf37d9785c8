"""Whom the server believes about a client's address, over both faces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from server.network.proxies import Proxies
from server.rest.forwarded import Forwarded
from server.rpc.peers import Peers
from tests.support.faces import running

PROXIES = "10.0.0.0/8, 192.168.1.1, fd00::/8"


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("1.2.3.4", ["5.6.7.8"], "1.2.3.4"),  # not trusted: a client's own words
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["5.6.7.8"], "5.6.7.8"),
        ("::ffff:10.0.0.1", ["5.6.7.8"], "5.6.7.8"),  # a server that listens on :: sees it so
        ("10.0.0.1", ["9.9.9.9, 5.6.7.8"], "5.6.7.8"),  # the left one was sent by the client
        ("10.0.0.1", ["9.9.9.9", "5.6.7.8, 10.0.0.2"], "5.6.7.8"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["5.6.7.8:1234"], "5.6.7.8"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("fd00::1", ["2001:DB8::1"], "2001:db8::1"),
        ("10.0.0.1", ["5.6.7.8, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["5.6.7.8, _hidden, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["5.6.7.8, "], "10.0.0.1"),
        ("10.0.0.1", ["5.6.7.8, " + "1" * 60_000], "10.0.0.1"),
        ("10.0.0.1", ["9.9.9.9, " * 7000 + "5.6.7.8"], "5.6.7.8"),
        ("10.0.0.1", ["9.9.9.9, " + "10.0.0.2, " * 40 + "10.0.0.3"], "10.0.0.2"),
        (None, ["5.6.7.8"], None),  # a Unix socket, which is not among them
    ],
)
def test_the_client_is_the_right_most_address_that_is_no_trusted_proxys(
    peer: str | None, headers: list[str], client: str | None
) -> None:
    assert Proxies(PROXIES).client(peer, headers) == client


def test_whoever_uses_the_unix_socket_can_be_trusted() -> None:
    proxies = Proxies("unix")
    assert proxies.client(None, ["5.6.7.8"]) == "5.6.7.8"
    assert proxies.client(None, []) is None
    assert proxies.client("127.0.0.1", ["5.6.7.8"]) == "127.0.0.1"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("peer", "seen"),
    [("10.0.0.1", (("5.6.7.8", 0), "https")), ("1.2.3.4", (("1.2.3.4", 7), "http"))],
)
async def test_rest_believes_only_a_trusted_peer(peer: str, seen: object) -> None:
    found: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append((scope["client"], scope["scheme"]))

    headers = [(b"x-forwarded-for", b"5.6.7.8"), (b"x-forwarded-proto", b"http, https")]
    scope = {"type": "http", "client": (peer, 7), "scheme": "http", "headers": headers}
    await Forwarded(app, Proxies(PROXIES))(scope, None, None)  # type: ignore[arg-type]
    assert found == [seen]


async def told(proxies: Proxies | None, address: str, forwarded: Sequence[str]) -> tuple[str | None, str]:
    """What a gRPC server there knows of a client that sends this metadata: its address, and its connection."""
    found: list[tuple[str | None, str]] = []
    peers = Peers(proxies)

    async def method(request: bytes, context: Any) -> bytes:
        found.append((peers.address(context), peers.connection(context)))
        return b""

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Method": grpc.unary_unary_rpc_method_handler(method)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))
    port = server.add_insecure_port(address)
    await server.start()
    target = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
    async with grpc.aio.insecure_channel(target) as channel:
        call: Any = channel.unary_unary("/test.Service/Method")
        await call(b"", metadata=[("x-forwarded-for", value) for value in forwarded], timeout=60)
    await server.stop(None)
    return found[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        ("127.0.0.0/8", ["5.6.7.8"], "5.6.7.8"),
        ("127.0.0.0/8", ["9.9.9.9", "5.6.7.8, 127.0.0.2"], "5.6.7.8"),
        ("127.0.0.0/8", [], "127.0.0.1"),
        ("10.0.0.0/8, unix", ["5.6.7.8"], "127.0.0.1"),
        ("", ["5.6.7.8"], "127.0.0.1"),
    ],
)
async def test_grpc_believes_only_a_trusted_peer(trusted: str, forwarded: list[str], address: str) -> None:
    found, connection = await told(Proxies(trusted) if trusted else None, "127.0.0.1:0", forwarded)
    assert found == address
    assert connection == address if address == "5.6.7.8" else connection.startswith("ipv4:127.0.0.1:")


@pytest.mark.anyio
async def test_grpc_over_a_unix_socket_has_no_address_of_its_own(tmp_path: Path) -> None:
    at = f"unix:{tmp_path}/grpc.sock"
    assert (await told(Proxies("unix"), at, ["5.6.7.8"]))[0] == "5.6.7.8"
    assert (await told(Proxies("127.0.0.0/8"), at, ["5.6.7.8"]))[0] is None


@pytest.mark.anyio
@pytest.mark.parametrize(("trusted", "believed"), [("127.0.0.0/8", True), ("10.0.0.0/8,unix", False), ("", False)])
async def test_a_spoofed_header_of_an_untrusted_peer_is_ignored(trusted: str, believed: bool, demo: Path) -> None:
    """HSTS shows whether the scheme was believed."""
    spoofed = {"Host": "sesame.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "5.6.7.8"}
    async with running(demo.parents[1], wait=False, trusted_proxies=trusted) as server:
        told = await server.rest.http.get("/livez", headers=spoofed)
        assert ("strict-transport-security" in told.headers) == believed
