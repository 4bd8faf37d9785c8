"""A real server that refuses some of what it is asked, with one process and with two fronts."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.attacks.server import Server
from tests.support import fast
from tests.support.overload import OPTIONS, Overload


class Loaded(NamedTuple):
    """A server under load. `fronts`: how many it has; `port`: of HTTP."""

    fronts: int
    port: int

    def metrics(self) -> str:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=60)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="session", params=[0, 2], ids=["one process", "two fronts"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    fast.leave("starts a server")
    folder: Path = tmp_path_factory.mktemp("server")
    fronts: int = request.param
    with Server(folder, [*OPTIONS, f"--fronts={fronts}"]) as server, Overload(server.http_port) as overload:
        overload.until_seen(200, 429)
        yield Loaded(fronts, server.http_port)
