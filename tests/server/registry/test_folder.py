"""The model repository may be incomplete, gone for a moment or unreadable: what is in memory is served."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from bundle import files
from bundle.errors import BundleError
from server.engines.choice import Choice
from server.host.exit_codes import LOAD_FAILED
from server.metrics import Metrics
from server.registry.deployer import Deployer
from server.registry.folder import scan
from server.registry.repository import Repository
from tests.support.faces import KnowsProbe, Running, running
from tests.support.pictures import jpeg
from tests.support.published import publish

pytestmark = pytest.mark.anyio
KEY = {"Authorization": "Bearer 0123456789abcdef"}

made: list[str] = []


def choose(bundle: files.Bundle) -> Choice:
    made.append(bundle.manifest.version)
    return Choice(KnowsProbe(bundle), "")


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    made.clear()
    folder = tmp_path / "bundles"
    publish(demo, folder, 1)
    return folder


@pytest.fixture
async def server(root: Path) -> AsyncIterator[Running]:
    async with running(root, choose, admin_token="0123456789abcdef") as server:
        yield server


def deployer(server: Running) -> Deployer:
    return server.registry.deployer


async def served(server: Running) -> str:
    outcome = await server.rest.classify(jpeg())
    return outcome.version or outcome.code


async def reasons(server: Running) -> dict[str, str]:
    models = (await server.rest.http.get("/models")).json()["models"]
    return {model["version"]: model["reason"] for model in models}


@pytest.mark.parametrize("empty", [True, False])
async def test_where_the_newest_version_does_not_load_at_the_start_an_older_one_is_served(
    empty: bool, root: Path, demo: Path
) -> None:
    publish(demo, root, 2)
    if empty:
        (root / "demo" / "3").mkdir()
    else:
        publish(demo, root, 3, spoilt=True)
    async with running(root, choose) as server:
        assert await served(server) == "2"
        assert await server.rest.models() == [
            ("demo", "1", "UNLOADED"),
            ("demo", "2", "READY"),
            ("demo", "3", "FAILED"),
        ]
        assert "demo/3" in (await reasons(server))["3"]


async def test_a_model_of_which_no_version_loads_ends_the_process(root: Path, demo: Path) -> None:
    publish(demo, root, 1, spoilt=True, name="other")
    publish(demo, root, 2, spoilt=True, name="other")
    async with running(root, choose, wait=False) as server:
        assert await server.task == LOAD_FAILED


@pytest.mark.parametrize("level", ["root", "model", "version", "an empty mount point"])
async def test_what_is_in_memory_is_served_while_its_files_are_gone_and_not_loaded_again_when_they_are_back(
    level: str, root: Path, demo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(demo, root, 2)
    async with running(root, choose) as server:
        away = {"root": root, "model": root / "demo"}.get(level, root / "demo" / "2")
        away.rename(tmp_path / "away")
        if level == "an empty mount point":
            away.mkdir()
        for _ in range(3):
            await deployer(server).refresh()
            assert await served(server) == "2"
        assert (await reasons(server))["2"].startswith("its files are gone")
        assert len([record for record in caplog.records if "are gone" in record.getMessage()]) == 1
        assert await server.rest.ready()
        if level == "an empty mount point":
            away.rmdir()
        (tmp_path / "away").rename(away)
        await deployer(server).refresh()
        assert made == ["2"]
        assert (await reasons(server)) == {"1": "", "2": ""}


async def test_files_that_come_back_changed_are_loaded_anew(server: Running, root: Path, demo: Path) -> None:
    shutil.rmtree(root / "demo")
    await deployer(server).refresh()
    publish(demo, root, 1)
    await deployer(server).refresh()
    assert made == ["1", "1"]
    assert await served(server) == "1"


async def test_a_version_without_files_leaves_when_another_one_is_ready(
    server: Running, root: Path, demo: Path
) -> None:
    shutil.rmtree(root / "demo" / "1")
    publish(demo, root, 2, spoilt=True)
    await deployer(server).refresh()
    assert await served(server) == "1"
    publish(demo, root, 3)
    await deployer(server).refresh()
    assert await server.rest.models() == [("demo", "2", "FAILED"), ("demo", "3", "READY")]
    assert await served(server) == "3"


async def test_a_version_without_files_that_an_alias_names_stays(server: Running, root: Path, demo: Path) -> None:
    point = {"model": "demo", "version": "1"}
    await server.rest.http.put("/admin/aliases/stable", json=point, headers=KEY)
    shutil.rmtree(root / "demo" / "1")
    publish(demo, root, 2)
    await deployer(server).refresh()
    assert (await server.rest.classify(jpeg(), model="stable")).version == "1"
    assert await served(server) == "2"


async def test_an_operator_may_unload_a_version_without_files(server: Running, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "away")
    await deployer(server).refresh()
    assert (await server.rest.http.post("/admin/models/demo/unload", headers=KEY)).status_code == 200
    assert await server.rest.models() == []
    (tmp_path / "away").rename(root)
    await deployer(server).refresh()
    assert await server.rest.models() == [("demo", "1", "UNLOADED")]  # as the operator left it


async def test_to_load_from_a_folder_that_is_gone_is_a_conflict(server: Running, root: Path) -> None:
    shutil.rmtree(root)
    answer = await server.rest.http.post("/admin/models/demo/load", headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["detail"] == "demo/1 was not loaded: its files are gone. Put them back."
    assert await served(server) == "1"


async def test_a_folder_that_cannot_be_read_changes_nothing_and_is_reported_once(
    server: Running, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def denied(root: Path) -> None:
        raise PermissionError(13, "Permission denied", str(root / "secret"))

    monkeypatch.setattr(files, "find", denied)
    for _ in range(3):
        await deployer(server).refresh()
    assert await served(server) == "1"
    assert (
        len([record for record in caplog.records if "cannot be read (Permission denied)" in record.getMessage()]) == 1
    )
    answer = await server.rest.http.post("/admin/models/demo/load", headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "secret' cannot be read (Permission denied)" in answer.json()["detail"]


def test_an_unreadable_folder_is_reported_with_its_cure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(root: Path) -> None:
        raise PermissionError(13, "Permission denied", str(root / "secret"))

    monkeypatch.setattr(files, "find", denied)
    with pytest.raises(
        BundleError, match=r"secret' cannot be read \(Permission denied\): let the server's user read it"
    ):
        Repository(root, "", Metrics(CollectorRegistry()))


def test_files_for_nvidias_triton_are_no_part_of_a_version(root: Path) -> None:
    before = scan(root)
    assert list(before) == [root / "demo" / "1"]
    (root / "demo" / "config.pbtxt").write_text('name: "demo"\n')
    (root / "demo" / "labels.txt").write_text("goldfish\n")
    (root / "config.pbtxt").write_text("")
    assert scan(root) == before


async def test_a_version_that_was_replaced_may_be_loaded_again(server: Running, root: Path, demo: Path) -> None:
    publish(demo, root, 2)
    await deployer(server).refresh()
    await server.rest.http.post("/admin/models/demo/unload?version=2", headers=KEY)
    await deployer(server).refresh()
    assert await served(server) == "1"
