"""One server with keys in one process, and one with two fronts: what holds for one must hold for the other."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from tests.support import fast, keys
from tests.support.faces import running
from tests.support.published import publish
from tests.support.served_tree import FRONTS, ServedTree, served_tree

SLOW = 1 / 10_000
"""Images a second so few that none comes back during a test."""

TABLES = (
    keys.table("plain"),
    keys.table("operator", admin=True),
    keys.table("prometheus", models=[], metrics=True),
    keys.table("demo_only", models=["demo"]),
    keys.table("other_only", models=["other"]),
    *(keys.table(f"five_{face}", rate=SLOW, burst=5) for face in ("rest", "grpc", "both", "v2")),
    keys.table("two_a_day", quota_per_day=2),
    keys.table("fast", rate=1000, burst=4),
)


class Served:
    """A server with keys: in this process, or a tree of processes."""

    def __init__(self, url: str, target: str, path: Path, tree: ServedTree | None) -> None:
        self.url, self.target, self.path, self.tree = url, target, path, tree

    def http(self, name: str = "") -> httpx.AsyncClient:
        """A client with the key of that name."""
        return httpx.AsyncClient(base_url=self.url, timeout=120, headers=keys.bearer(name) if name else {})

    @asynccontextmanager
    async def each_process(self, name: str) -> AsyncIterator[list[httpx.AsyncClient]]:
        """A client for each process with faces."""
        async with AsyncExitStack() as stack:
            if not self.tree:
                yield [await stack.enter_async_context(self.http(name))]
                return
            found = [await stack.enter_async_context(self.tree.client_of(front)) for front in FRONTS]
            for client in found:
                client.headers = httpx.Headers(keys.bearer(name))
            yield found

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.target)

    def write(self, *tables: str) -> None:
        """Other keys, besides those of all tests."""
        keys.write(self.path, *TABLES, *tables)


def repository_in(folder: Path, demo: Path) -> Path:
    """The demo, and a model named `other` that is the same."""
    shutil.copytree(demo, folder / "demo" / "1")
    publish(demo, folder, 1, name="other")
    return folder


@pytest.fixture(scope="package")
def tree_with_keys(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedTree, Path]]:
    fast.leave("starts a server")
    folder = tmp_path_factory.mktemp("tree")
    path = keys.write(folder / "keys.toml", *TABLES)
    repository = repository_in(folder / "models", demo)
    with served_tree(repository, folder / "cache", f"--keys={path}", "--keep-versions=0") as tree:
        tree.listen()
        tree.ready("core", *FRONTS)
        yield tree, path
        assert tree.end() == 0


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "two fronts"])
async def served(
    request: pytest.FixtureRequest, demo: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    if request.param:
        tree, path = request.getfixturevalue("tree_with_keys")
        yield Served(tree.url, tree.grpc, path, tree)
        return
    folder = tmp_path_factory.mktemp("one")
    path = keys.write(folder / "keys.toml", *TABLES)
    async with running(repository_in(folder / "models", demo), keys=path, default_model="demo") as server:
        yield Served(f"http://127.0.0.1:{server.http_port}", f"127.0.0.1:{server.grpc_port}", path, None)
