"""Readiness of the server, with one model that answers or with all, and of each model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bundle.files import Bundle
from server.engines.choice import Choice
from tests.support.faces import Held, Running, running
from tests.support.pictures import jpeg
from tests.support.published import publish

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("face", ["rest", "rpc"])
KEY = {"Authorization": "Bearer 0123456789abcdef"}


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    for name in ("one", "other"):
        publish(demo, tmp_path, 1, name=name)
    return tmp_path


@asynccontextmanager
async def two_models(root: Path, **settings: Any) -> AsyncIterator[tuple[Running, dict[str, Held]]]:
    """Servers of `one` and `other`, and their engines, which may be made to fail."""
    engines: dict[str, Held] = {}

    def choose(bundle: Bundle) -> Choice:
        engines[bundle.manifest.name] = Held(bundle)
        return Choice(engines[bundle.manifest.name], "")

    async with running(root, choose, **settings) as server:
        yield server, engines
        for engine in engines.values():
            engine.gate.release(1000)


async def fall_sick(server: Running, model: str, engine: Held) -> None:
    engine.failing = engine.closed = True
    engine.gate.release(1000)  # more than are asked for: the server tries a sick engine of its own accord
    for seed in range(3):
        assert (await server.rest.classify(jpeg(seed), model=model)).code == "engine_failed"


@both
async def test_while_one_model_is_sick_the_server_is_ready_for_the_others(face: str, root: Path) -> None:
    async with two_models(root) as (server, engines):
        await fall_sick(server, "one", engines["one"])
        await server.app.parts.health.publish()
        assert await server.client(face).ready()
        await fall_sick(server, "other", engines["other"])
        await server.app.parts.health.publish()
        assert not await server.client(face).ready()


@both
async def test_where_readiness_is_strict_one_sick_model_is_enough(face: str, root: Path) -> None:
    async with two_models(root, strict_readiness=True) as (server, engines):
        assert await server.client(face).ready()
        await fall_sick(server, "one", engines["one"])
        await server.app.parts.health.publish()
        assert not await server.client(face).ready()


async def test_metrics_tell_which_engine_fails_while_its_model_is_loaded(root: Path) -> None:
    async with two_models(root) as (server, engines):
        await fall_sick(server, "one", engines["one"])
        assert await server.metric("sesame_model_ready") == 2
        assert await server.metric("sesame_engine_failing", 'model="one"') == 1
        assert await server.metric("sesame_engine_failing", 'model="other"') == 0


async def test_where_readiness_is_strict_a_model_that_failed_to_load_is_enough(root: Path) -> None:
    (root / "other" / "1" / "labels.tsv").write_text("other\n")
    async with two_models(root, keep_going=True) as (server, _):
        assert await server.rest.ready()
    async with two_models(root, keep_going=True, strict_readiness=True, wait=False) as (server, _):
        while ("other", "1", "FAILED") not in await server.rest.models():
            await asyncio.sleep(0.01)
        assert not await server.rest.ready()


async def test_where_readiness_is_strict_a_model_that_an_operator_took_out_is_not_missed(root: Path) -> None:
    async with two_models(root, strict_readiness=True, admin_token="0123456789abcdef") as (server, _):
        assert (await server.rest.http.post("/admin/models/one/unload", headers=KEY)).status_code == 200
        assert await server.rest.ready()


async def test_each_model_reports_its_own_readiness(root: Path) -> None:
    async with two_models(root, admin_token="0123456789abcdef") as (server, engines):
        http = server.rest.http
        answer = await http.get("/models/one/ready")
        model = {"model": "one", "version": "1", "state": "READY", "reason": ""}
        assert (answer.status_code, answer.json()) == (200, {"ready": True, "models": [model]})
        assert (await http.get("/models/one/ready?version=1")).status_code == 200
        for path, code in (("nowhere/ready", "unknown_model"), ("one/ready?version=9", "unknown_model")):
            answer = await http.get(f"/models/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, code)
        assert (await http.get("/models/one/ready?version=new")).status_code == 400
        await http.put("/admin/aliases/stable", json={"model": "one", "version": None}, headers=KEY)
        assert (await http.get("/models/stable/ready")).status_code == 200
        await fall_sick(server, "one", engines["one"])
        answer = await http.get("/models/one/ready")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert answer.json()["models"][0]["reason"] == "its engine fails; the server tries it again every half second"
        assert (await http.get("/models/other/ready")).status_code == 200
        await http.post("/admin/models/other/unload", headers=KEY)
        assert (await http.get("/models/other/ready")).status_code == 503


async def test_no_model_is_ready_on_a_server_that_leaves(root: Path) -> None:
    async with two_models(root, drain_delay_s=1) as (server, _):
        server.app.leave()
        while await server.rest.ready():
            await asyncio.sleep(0)
        assert (await server.rest.http.get("/models/one/ready")).status_code == 503
