"""A model repository in a store is served from this machine's cache, whatever becomes of the store."""

import asyncio
import json
import logging
import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle import files
from bundle.errors import BundleError
from remote.push import push
from remote.stores.folder import FolderStore
from remote.stores.opening import open_writable
from server.engines.choice import Choice
from server.host.exit_codes import LOAD_FAILED
from server.registry.remote_folder import RemoteFolder
from server.settings import Settings
from server.startup.app import App
from server.startup.compose import compose
from tests.support.clock import Clock
from tests.support.faces import KnowsProbe, Running, running
from tests.support.pictures import jpeg
from tests.support.published import publish
from tests.support.s3 import S3
from tests.support.web_files import web_files

pytestmark = pytest.mark.anyio
TOKEN = "0123456789abcdef"
KEY = {"Authorization": f"Bearer {TOKEN}"}


def choose(bundle: files.Bundle) -> Choice:
    return Choice(KnowsProbe(bundle), "")


@pytest.fixture
def store(demo: Path, tmp_path: Path) -> Path:
    """A folder that stands for a store, with the demo as version 1."""
    publish(demo, tmp_path / "store", 1)
    return tmp_path / "store"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def server(store: Path, cache: Path) -> AsyncIterator[Running]:
    async with running(store.as_uri(), choose, cache_dir=cache, admin_token=TOKEN) as server:
        yield server


async def served(server: Running, model: str = "") -> str:
    outcome = await server.rest.classify(jpeg(), model=model)
    return outcome.version or outcome.code


async def load(server: Running, query: str = "") -> httpx.Response:
    return await server.rest.http.post(f"/admin/models/demo/load{query}", headers=KEY)


async def reasons(server: Running) -> dict[str, tuple[str, str]]:
    models = (await server.rest.http.get("/models")).json()["models"]
    return {model["version"]: (model["state"], model["reason"]) for model in models}


def fetched(cache: Path) -> list[str]:
    """The versions in the cache."""
    return sorted(path.name for path in cache.glob("repositories/*/demo/*") if path.name.isdecimal())


async def test_a_damaged_object_in_s3_is_refused_and_the_old_version_goes_on_serving(
    s3: S3, demo: Path, tmp_path: Path
) -> None:
    target = open_writable("s3://bucket/models")
    push(publish(demo, tmp_path, 1), target, lambda done, total: None)
    async with running("s3://bucket/models", choose, admin_token=TOKEN) as server:
        assert await served(server) == "1"
        push(publish(demo, tmp_path, 2), target, lambda done, total: None)
        whole = s3.damage("models/demo/2/model.onnx")
        refused = await load(server)
        assert refused.status_code == 409
        states = await reasons(server)
        assert states["1"] == ("READY", "")
        assert states["2"][0] == "FAILED"
        assert "model.onnx in s3://bucket/models (demo/2/model.onnx) is not the file its manifest" in states["2"][1]
        assert await served(server) == "1"
        await server.registry.deployer.refresh()
        assert await served(server) == "1"
        s3.put("models/demo/2/model.onnx", whole)
        await server.registry.deployer.refresh()
        assert await served(server) == "2"
        assert (await reasons(server))["2"] == ("READY", "")


async def test_only_what_is_served_is_fetched_and_what_is_not_is_removed(
    server: Running, store: Path, cache: Path, demo: Path
) -> None:
    for version in (2, 3):
        publish(demo, store, version)
    await server.registry.deployer.refresh()
    assert await served(server) == "3"
    assert fetched(cache) == ["1", "3"]
    await server.registry.deployer.refresh()
    assert fetched(cache) == ["3"]
    assert (await load(server, "?version=2")).status_code == 200
    assert fetched(cache) == ["2", "3"]
    await server.registry.deployer.refresh()
    await server.registry.deployer.refresh()
    assert fetched(cache) == ["2", "3"]
    assert not list(cache.glob("repositories/*/demo/.pull-*-*"))


async def test_a_store_that_is_away_changes_nothing_and_is_told_once(
    server: Running, store: Path, demo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.rename(store.with_name("away"))
    for _ in range(3):
        await server.registry.deployer.refresh()
    assert await served(server) == "1"
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "There is no folder" in warnings[0]


async def test_a_server_starts_from_its_cache_while_the_store_is_away(
    store: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = store.as_uri()
    async with running(url, choose, cache_dir=cache):
        pass
    store.rename(store.with_name("away"))
    async with running(url, choose, cache_dir=cache) as server:
        assert await served(server) == "1"
        assert await reasons(server) == {"1": ("READY", "")}
    assert "Until then the versions in " in caplog.text


async def exit_code(**settings: Any) -> int:
    defaults = {"http_port": 0, "grpc_port": 0}
    return await App(compose(Settings(**{**defaults, **settings}), choose, [])).run()


async def test_without_a_cache_a_store_that_is_away_is_a_clear_error(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = (tmp_path / "nowhere").as_uri()
    assert await exit_code(model_repository=url, cache_dir=cache) == LOAD_FAILED
    assert "There is no folder" in caplog.text
    assert "stopping: No bundle of " in caplog.text


async def test_a_default_model_that_is_not_in_the_store_is_an_error(
    store: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = await exit_code(model_repository=store.as_uri(), cache_dir=cache, default_model="flowers")
    assert code == LOAD_FAILED
    assert "stopping: The default model 'flowers' is not among demo" in caplog.text


async def test_a_url_that_cannot_be_used_is_told_before_anything_starts(cache: Path) -> None:
    with pytest.raises(BundleError, match="unknown scheme") as caught:
        compose(Settings(model_repository="ftp://user:hush@host/models", cache_dir=cache), choose, [])
    assert "hush" not in str(caught.value)


async def test_aliases_in_the_store_are_followed_and_those_set_here_stay(
    server: Running, store: Path, demo: Path
) -> None:
    publish(demo, store, 2)
    (store / "aliases.json").write_text(json.dumps({"stable": {"model": "demo", "version": "1"}}))
    await server.registry.deployer.refresh()
    assert (await served(server), await served(server, "stable")) == ("2", "1")
    body = {"model": "demo", "version": "2"}
    assert (await server.rest.http.put("/admin/aliases/mine", headers=KEY, json=body)).status_code == 200
    await server.registry.deployer.refresh()
    assert await served(server, "mine") == "2"
    assert "mine" not in (store / "aliases.json").read_text()
    (store / "aliases.json").write_text("{")
    await server.registry.deployer.refresh()
    assert await served(server, "stable") == "1"


async def test_requests_are_answered_while_a_version_is_fetched(server: Running, store: Path, demo: Path) -> None:
    """The graph of version 2 is a pipe: whoever reads it waits until the test writes."""
    folder = publish(demo, store.parent / "elsewhere", 2)
    graph = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    folder.rename(store / "demo" / "2")
    loading = threading.Event()

    def write() -> None:
        with (store / "demo" / "2" / "model.onnx").open("wb") as pipe:  # waits for the reader
            loading.set()
            released.wait()
            pipe.write(graph)

    released = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    asked = load(server)

    answer = asyncio.create_task(asked)
    while not loading.is_set():
        await asyncio.sleep(0.01)
    assert await served(server) == "1"
    assert (await server.rest.http.get("/readyz")).status_code == 200
    assert not answer.done()
    released.set()
    assert (await answer).status_code == 200
    writer.join()
    assert await served(server) == "2"


async def test_ports_are_open_while_the_first_version_is_fetched(demo: Path, tmp_path: Path, cache: Path) -> None:
    """Of a plain web server, by the URL of a version."""
    shutil.copytree(demo, tmp_path / "web" / "1")
    asked, released = threading.Event(), threading.Event()
    with web_files(tmp_path / "web") as web:

        def wait(handler: Any) -> None:
            asked.set()
            released.wait()
            del web.special["/1/probe.npz"]
            web.answer(handler)

        web.special["/1/probe.npz"] = wait
        async with running(f"{web.url}/1", choose, wait=False, cache_dir=cache) as server:
            while not asked.is_set():
                await asyncio.sleep(0.01)
            assert (await server.rest.http.get("/livez")).status_code == 200
            assert (await server.rest.http.get("/readyz")).status_code == 503
            released.set()
            await server.until_ready()
            assert await served(server) == "1"


class Counted(FolderStore):
    """Counts how often it is asked what it holds."""

    asked = 0

    def items(self, folder: str = "") -> Any:
        self.asked += 1
        return super().items(folder)


def test_a_store_that_is_away_is_asked_after_pauses_that_double(store: Path, cache: Path) -> None:
    clock, counted = Clock(), Counted(store)
    remote = RemoteFolder(counted, cache, clock)
    assert [found.version for found in remote.scan().values()] == ["1"]
    store.rename(store.with_name("away"))
    asked: list[float] = []
    for second in range(1000):
        clock.now_s, before = float(second), counted.asked
        with pytest.raises(OSError, match="There is no folder"):
            remote.scan()
        if counted.asked > before:
            asked.append(clock.now_s)
    assert asked == [0, 5, 15, 35, 75, 155, 315, 635]
    store.with_name("away").rename(store)
    clock.now_s = 2000
    assert remote.scan()


def test_a_cache_that_was_damaged_is_fetched_again(store: Path, cache: Path) -> None:
    remote = RemoteFolder(FolderStore(store), cache)
    (path,) = remote.scan()
    remote.fetch(path)
    (path / "labels.tsv").write_text("other")
    remote.fetch(path)
    assert files.read(path).manifest.version == "1"
