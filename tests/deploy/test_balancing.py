"""What docs/kubernetes.md says of balancing gRPC: a client has one server, unless it balances; connections grow old."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from bundle.files import Bundle
from server.engines.choice import Choice
from server.rpc import server_options
from tests.conftest import REPOSITORY
from tests.support.faces import KnowsProbe, RpcClient, Running, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
_CALLS = 20


def choose(bundle: Bundle) -> Choice:
    return Choice(KnowsProbe(bundle), "a test's")


@asynccontextmanager
async def two(demo: Path) -> AsyncIterator[tuple[Running, Running]]:
    async with running(demo.parents[1], choose) as one, running(demo.parents[1], choose) as other:
        yield one, other


@asynccontextmanager
async def client(servers: Sequence[Running], options: Sequence[tuple[str, str | int]] = ()) -> AsyncIterator[RpcClient]:
    """A channel to all of them, as the addresses that the DNS has for a headless Service."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.grpc_port}" for server in servers)
    async with grpc.aio.insecure_channel(target, options) as channel:
        yield RpcClient(channel)


async def answered(servers: Sequence[Running]) -> list[float]:
    """Calls so far that each server has answered."""
    return [await server.metric("sesame_requests_total", 'face="grpc"') for server in servers]


async def told(servers: Sequence[Running], caller: RpcClient, calls: int = _CALLS) -> list[float]:
    """How many of so many calls, which all succeed, each server has answered."""
    before = await answered(servers)
    assert {(await caller.classify(jpeg())).code for _ in range(calls)} == {""}
    return [now - then for now, then in zip(await answered(servers), before, strict=True)]


def service_config() -> str:
    """The one in the guide."""
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"service = '(.+)'", page)
    return json.dumps(json.loads(found))


async def test_a_client_sends_all_calls_to_one_server(demo: Path) -> None:
    async with two(demo) as servers, client(servers) as caller:
        assert sorted(await told(servers, caller)) == [0, _CALLS]


async def test_a_client_with_the_guides_configuration_takes_turns(demo: Path) -> None:
    async with two(demo) as servers, client(servers, [("grpc.service_config", service_config())]) as caller:
        while 0 in await answered(servers):  # until it is connected to both
            await caller.classify(jpeg())
        assert await told(servers, caller) == [_CALLS / 2, _CALLS / 2]


async def test_a_connection_that_has_its_age_gives_way_to_another_and_no_call_is_cut(
    demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_options, "_CONNECTION_AGE_MS", 500)
    async with running(demo.parents[1], choose) as server, client([server]) as caller:
        seen: set[str] = set()
        while len(seen) < 4:
            assert (await caller.classify(jpeg())).code == ""
            seen |= connections(server.grpc_port)


async def test_a_young_connection_is_kept(demo: Path) -> None:
    async with running(demo.parents[1], choose) as server, client([server]) as caller:
        seen: set[str] = set()
        for _ in range(_CALLS):
            assert (await caller.classify(jpeg())).code == ""
            seen |= connections(server.grpc_port)
        assert len(seen) == 1


def connections(port: int) -> set[str]:
    """The clients' ends of established connections to a local port, from proc_net(5). gRPC connects to addresses of
    IPv4 through sockets of IPv6.
    """
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    rows = [line.split() for line in lines]
    return {local for _, local, remote, state, *_ in rows if state == "01" and remote.endswith(f":{port:04X}")}
