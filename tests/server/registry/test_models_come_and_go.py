"""Models are loaded, replaced and unloaded while requests go on; aliases move at once."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle import files
from bundle.errors import BundleError
from server import options
from server.engines.choice import Choice
from server.registry.aliases import Aliases
from server.settings import Settings, SettingsError
from tests.support.faces import Client, Held, KnowsProbe, Running, running
from tests.support.pictures import jpeg
from tests.support.published import publish

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    publish(demo, tmp_path, 1)
    return tmp_path


TOKEN = "0123456789abcdef"
KEY = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def server(root: Path) -> AsyncIterator[Running]:
    async with running(root, admin_token=TOKEN) as server:
        yield server


async def admin(server: Running, method: str, path: str, **options: Any) -> httpx.Response:
    return await server.rest.http.request(method, f"/admin/{path}", headers=KEY, **options)


async def version(server: Running, model: str = "") -> str:
    outcome = await server.rest.classify(jpeg(), model=model)
    return outcome.version or outcome.code


async def test_without_a_token_there_is_no_admin(root: Path) -> None:
    async with running(root) as server:
        answer = await admin(server, "POST", "models/demo/load")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_path")


async def test_the_token_is_demanded(server: Running) -> None:
    http = server.rest.http
    nameless = await http.post("/admin/models/demo/load")
    assert (nameless.status_code, nameless.json()["code"]) == (401, "unauthorized")
    assert nameless.headers["www-authenticate"] == "Bearer"
    wrong = await http.post("/admin/models/demo/load", headers={"Authorization": "Bearer nonsense"})
    assert (wrong.status_code, wrong.json()["code"]) == (403, "forbidden")


async def test_a_token_that_ends_in_a_newline_as_files_do_is_matched(root: Path) -> None:
    token = options.read({}, {"SESAME_ADMIN_TOKEN": f"{TOKEN}\n"}).admin_token
    async with running(root, admin_token=token) as server:
        assert (await admin(server, "POST", "models/demo/load")).status_code == 200


def test_a_token_that_could_be_guessed_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 16 characters"):
        Settings(admin_token="secret")


async def test_a_new_version_takes_over_and_the_old_one_leaves(server: Running, root: Path, demo: Path) -> None:
    publish(demo, root, 2)
    loaded = await admin(server, "POST", "models/demo/load")
    assert (loaded.status_code, loaded.json()["version"], loaded.json()["state"]) == (200, "2", "READY")
    assert await version(server) == "2"
    assert await server.rest.models() == [("demo", "1", "UNLOADED"), ("demo", "2", "READY")]
    assert await server.metric("sesame_model_ready", 'version="1"') == 0
    assert await server.metric("sesame_drain_seconds", 'version="1"') == 0


async def test_a_version_asked_for_by_its_number_stays(server: Running, root: Path, demo: Path) -> None:
    publish(demo, root, 2)
    await admin(server, "POST", "models/demo/load")
    await admin(server, "POST", "models/demo/load?version=1")
    assert await server.rest.models() == [("demo", "1", "READY"), ("demo", "2", "READY")]
    assert await version(server) == "2"


async def test_what_fails_to_load_leaves_the_old_one_serving_and_says_why(
    server: Running, root: Path, demo: Path
) -> None:
    publish(demo, root, 2, spoilt=True)
    failed = await admin(server, "POST", "models/demo/load")
    assert (failed.status_code, failed.json()["code"]) == (409, "conflict")
    assert "labels.tsv of the bundle 'demo/2'" in failed.json()["detail"]
    assert await version(server) == "1"
    assert await server.rest.models() == [("demo", "1", "READY"), ("demo", "2", "FAILED")]
    (root / "demo" / "1" / "labels.tsv").write_text("other\n")
    assert (await admin(server, "POST", "models/demo/load?version=1")).status_code == 409
    assert await version(server) == "1"
    (first, _) = (await server.rest.http.get("/models/demo")).json()["models"]
    assert (first["state"], "labels.tsv" in first["reason"]) == ("READY", True)


async def test_an_unloaded_model_is_gone_when_its_last_request_is_answered(root: Path) -> None:
    engines: list[Held] = []

    def choose_held(bundle: files.Bundle) -> Choice:
        engines.append(Held(bundle))
        return Choice(engines[-1], "")

    async with running(root, choose_held, admin_token=TOKEN) as server:
        engines[0].closed = True
        waiting = [asyncio.create_task(server.rest.classify(jpeg(seed))) for seed in range(3)]
        await server.until("sesame_permits_taken", 3)
        unloading = asyncio.create_task(admin(server, "POST", "models/demo/unload"))
        while await server.rest.models() != [("demo", "1", "UNLOADED")]:
            await asyncio.sleep(0)
        assert await version(server) == "not_ready"
        assert not unloading.done()
        engines[0].gate.release(100)
        assert [outcome.code for outcome in await asyncio.gather(*waiting)] == [""] * 3
        assert (await unloading).status_code == 200
        await admin(server, "POST", "models/demo/load")
        assert await server.rest.models() == [("demo", "1", "READY")]


async def test_an_alias_stands_for_a_version_and_is_kept(server: Running, root: Path, demo: Path) -> None:
    publish(demo, root, 2)
    point = {"model": "demo", "version": "1"}
    assert (await admin(server, "PUT", "aliases/stable", json=point)).json() == {
        "aliases": {"stable": point},
        "kept": True,
    }
    await admin(server, "PUT", "aliases/latest", json={"model": "demo"})
    await admin(server, "POST", "models/demo/load")
    assert (await version(server, "stable"), await version(server, "latest")) == ("1", "2")
    assert (await server.rpc.classify(jpeg(), model="stable")).version == "1"
    assert (await server.rest.http.get("/models")).json()["aliases"]["latest"] == {"model": "demo", "version": ""}
    in_use = await admin(server, "POST", "models/demo/unload?version=1")
    assert (in_use.status_code, "The alias 'stable'" in in_use.json()["detail"]) == (409, True)
    await admin(server, "PUT", "aliases/stable", json={"model": "demo", "version": "2"})
    assert await version(server, "stable") == "2"
    assert await server.rest.models() == [("demo", "1", "UNLOADED"), ("demo", "2", "READY")]
    async with running(root) as again:
        assert await version(again, "stable") == "2"
    assert (await admin(server, "DELETE", "aliases/stable")).status_code == 200
    assert await version(server, "stable") == "unknown_model"


@pytest.mark.parametrize(
    ("alias", "body", "code"),
    [
        ("demo", {"model": "demo"}, "malformed"),
        ("a b", {"model": "demo"}, "malformed"),
        ("stable", {"model": "nowhere"}, "unknown_model"),
        ("stable", {"model": "demo", "version": "9"}, "unknown_model"),
        ("stable", {"model": "demo", "version": 1}, "malformed"),
        ("stable", [], "malformed"),
        ("stable", {}, "malformed"),
    ],
)
async def test_an_alias_that_cannot_be_is_refused(alias: str, body: object, code: str, server: Running) -> None:
    assert (await admin(server, "PUT", f"aliases/{alias}", json=body)).json()["code"] == code
    assert (await server.rest.http.get("/models")).json()["aliases"] == {}


async def test_a_request_may_not_ask_for_a_version_of_an_alias(server: Running) -> None:
    await admin(server, "PUT", "aliases/stable", json={"model": "demo"})
    outcome = await server.rest.classify(jpeg(), model="stable", version="1")
    assert (outcome.code, outcome.detail) == (
        "malformed",
        "The alias 'stable' stands for a version: leave version out.",
    )


def test_broken_aliases_are_reported_at_the_start(root: Path) -> None:
    (root / "aliases.json").write_text("[1]")
    with pytest.raises(BundleError, match=r"aliases\.json cannot be understood"):
        Aliases(root)


async def test_a_watched_folder_is_served_as_it_changes(root: Path, demo: Path) -> None:
    async with running(root, watch_s=1) as server:
        (root / "demo" / "1").rename(root / "gone")
        publish(demo, root, 3)
        while await server.rest.models() != [("demo", "3", "READY")]:
            await asyncio.sleep(0.05)
        assert await version(server) == "3"
        publish(demo, root, 4, spoilt=True)
        while ("demo", "4", "FAILED") not in await server.rest.models():
            await asyncio.sleep(0.05)
        assert await version(server) == "3"
        shutil.copy(demo / "labels.tsv", root / "demo" / "4")  # mended
        while await version(server) != "4":
            await asyncio.sleep(0.05)


async def test_thirty_reloads_under_load_fail_no_request(root: Path) -> None:
    def choose_fast(bundle: files.Bundle) -> Choice:
        return Choice(KnowsProbe(bundle), "")

    async with running(root, choose_fast, admin_token=TOKEN) as server:
        stop = asyncio.Event()

        async def ask(client: Client, seed: int) -> list[str]:
            codes = []
            while not stop.is_set():
                codes.append((await client.classify(jpeg(seed))).code)
            return codes

        asking = [asyncio.create_task(ask(server.client(face), seed)) for seed in range(4) for face in ("rest", "rpc")]
        for _ in range(30):
            assert (await admin(server, "POST", "models/demo/load")).status_code == 200
        stop.set()
        codes = [code for codes in await asyncio.gather(*asking) for code in codes]
        assert len(codes) > 100
        assert set(codes) == {""}
        assert await server.metric("sesame_admitted_total") == await server.metric("sesame_images_total") == len(codes)
