"""Whom the server believes about a client's address, over both faces."""

from typing import Any

import pytest

from server.network.proxies import Proxies
from server.rest.forwarded import Forwarded
from server.rpc.peers import Peers

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


class Call:
    """What a gRPC context tells of a call."""

    def __init__(self, peer: str, forwarded: str = "") -> None:
        self._peer = peer
        self._metadata = (("x-forwarded-for", forwarded),) if forwarded else ()

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> object:
        return self._metadata


@pytest.mark.parametrize(
    ("peer", "forwarded", "address", "connection"),
    [
        ("ipv4:10.0.0.1:50", "5.6.7.8", "5.6.7.8", "5.6.7.8"),
        ("ipv4:10.0.0.1:50", "", "10.0.0.1", "ipv4:10.0.0.1:50"),
        ("ipv4:1.2.3.4:50", "5.6.7.8", "1.2.3.4", "ipv4:1.2.3.4:50"),
        ("ipv6:%5Bfd00::1%5D:50", "5.6.7.8", "5.6.7.8", "5.6.7.8"),
        ("ipv6:%5B::1%5D:50", "5.6.7.8", "::1", "ipv6:%5B::1%5D:50"),
    ],
)
def test_grpc_believes_only_a_trusted_peer(peer: str, forwarded: str, address: str, connection: str) -> None:
    call: Any = Call(peer, forwarded)
    peers = Peers(Proxies(PROXIES))
    assert (peers.address(call), peers.connection(call)) == (address, connection)
    assert Peers(None).connection(call) == peer
