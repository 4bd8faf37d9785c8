"""`python -m server ready`: whether a container's health check sees what the server says, however it listens."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import Settings
from server.startup.ready import fault
from tests.conftest import REPOSITORY
from tests.support.certificates import Authority, Issued
from tests.support.faces import held, running

pytestmark = pytest.mark.anyio


async def asked(**settings: object) -> str:
    return await asyncio.to_thread(fault, Settings(**settings))  # type: ignore[arg-type]


async def test_a_ready_server_is_seen_at_its_port(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        assert await asked(http_port=server.http_port) == ""
        assert await asked(http_port=server.http_port, host="0.0.0.0") == ""


async def test_a_ready_server_is_seen_over_tls(demo: Path, authority: Authority, good: Issued) -> None:
    async with running(demo.parents[1], tls=authority.client(), **good.settings) as server:
        assert await asked(http_port=server.http_port, **good.settings) == ""


async def test_a_server_that_wants_certificates_is_asked_over_its_unix_socket(demo: Path, tmp_path: Path) -> None:
    uds = str(tmp_path / "sesame.sock")
    files = dict.fromkeys(("tls_cert", "tls_key", "tls_client_ca"), "a file")
    assert "set uds too" in await asked(http_port=1, **files)
    async with running(demo.parents[1], uds=uds):
        assert await asked(http_port=1, uds=uds, **files) == ""


async def test_a_server_that_is_not_ready_is_told_so(demo: Path) -> None:
    async with held(demo) as (server, _):
        server.app.leave()
        while "503" not in (said := await asked(http_port=server.http_port)) and "does not answer" not in said:
            await asyncio.sleep(0)
    assert "does not answer" in await asked(http_port=server.http_port)
    assert "not 0" in await asked(http_port=0)


def test_the_command_says_it_by_its_code() -> None:
    command = [sys.executable, "-m", "server", "ready", "--http-port=1"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.startswith("server: not ready: it does not answer")) == (1, True)
