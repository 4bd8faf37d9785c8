"""A server inside a process of another program: it answers without ports, drains, and says when it must be replaced."""

import asyncio
from pathlib import Path

import pytest

from bundle.errors import BundleError
from bundle.files import Bundle
from server.engines.choice import Choice
from tests.support.embedded import client, embedded
from tests.support.faces import Held
from tests.support.pictures import jpeg
from tests.support.published import publish

pytestmark = pytest.mark.anyio


class Engines:
    """Chooses an engine that is held, and keeps it."""

    def __init__(self) -> None:
        self.made: list[Held] = []

    def choose(self, bundle: Bundle) -> Choice:
        self.made.append(Held(bundle))
        return Choice(self.made[-1], "a test's")


async def test_it_answers_and_has_no_complaint(demo: Path) -> None:
    async with embedded(demo.parents[1]) as server, client(server) as http:
        answer = await http.post("/classify", content=jpeg())
        assert (answer.status_code, answer.json()["model"]) == (200, "demo")
        assert (await http.get("/readyz")).status_code == 200
        assert not server.complaint


async def test_stopping_lets_admitted_work_end_and_refuses_new_work(demo: Path) -> None:
    engines = Engines()
    async with embedded(demo.parents[1], engines.choose) as server, client(server) as http:
        engines.made[0].closed = True
        answering = asyncio.create_task(http.post("/classify", content=jpeg()))
        await asyncio.to_thread(engines.made[0].entered.wait, 20)
        stopping = asyncio.create_task(server.stop())
        while server.parts.lifecycle.accepting:
            await asyncio.sleep(0)
        assert (await http.post("/classify", content=jpeg())).json()["code"] == "draining"
        engines.made[0].gate.release(9)
        assert (await answering).status_code == 200
        assert await stopping


async def test_an_engine_that_hangs_fails_its_callers_and_is_complained_of(demo: Path) -> None:
    engines = Engines()
    async with embedded(demo.parents[1], engines.choose, engine_limit_s=1, drain_limit_s=0) as server:
        async with client(server) as http:
            engines.made[0].closed = True
            answer = await http.post("/classify", content=jpeg())
            assert (answer.status_code, answer.json()["code"]) == (500, "engine_failed")
            assert "an engine hangs" in server.complaint
            assert (await http.get("/livez")).status_code == 500
        engines.made[0].gate.release(9)


async def test_without_loading_it_answers_that_no_model_is_ready_and_does_not_complain(demo: Path) -> None:
    async with embedded(demo.parents[1], load=False) as server, client(server) as http:
        assert (await http.post("/classify", content=jpeg())).json()["code"] == "not_ready"
        assert not server.complaint


async def test_a_model_that_cannot_be_loaded_stops_the_start(demo: Path, tmp_path: Path) -> None:
    publish(demo, tmp_path, 1, spoilt=True)
    with pytest.raises(BundleError, match="keep_going"):
        async with embedded(tmp_path):
            pass
