"""Aliases are shared by all servers over a folder: none undoes what another has set."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bundle import files
from bundle.errors import BundleError
from server.engines.choice import Choice
from server.registry import aliases
from server.registry.aliases import Aliases
from server.registry.target import Target
from tests.support.faces import KnowsProbe, Running, running
from tests.support.pictures import jpeg
from tests.support.published import publish

pytestmark = pytest.mark.anyio
KEY = {"Authorization": "Bearer 0123456789abcdef"}

HAMMER = """
import sys
from pathlib import Path
from server.registry.aliases import Aliases
from server.registry.target import Target

root, own = Path(sys.argv[1]), sys.argv[2]
mine = Aliases(root)
for number in range(100):
    assert mine.set(f"{own}-{number}", Target("demo", str(number + 1)))
    if number % 2:
        assert mine.set(f"{own}-{number}", None)
"""


def choose(bundle: files.Bundle) -> Choice:
    return Choice(KnowsProbe(bundle), "")


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    for version in (1, 2):
        publish(demo, tmp_path, version)
    return tmp_path


@pytest.fixture
async def servers(root: Path) -> AsyncIterator[tuple[Running, Running]]:
    options: dict[str, Any] = {"admin_token": "0123456789abcdef", "watch_s": 0}
    async with running(root, choose, **options) as one, running(root, choose, **options) as other:
        yield one, other


async def point(server: Running, alias: str, version: str) -> dict[str, object]:
    target = {"model": "demo", "version": version}
    answer = await server.rest.http.put(f"/admin/aliases/{alias}", json=target, headers=KEY)
    told: dict[str, object] = answer.json()
    return told


def test_two_processes_that_set_aliases_at_once_lose_none(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", HAMMER, str(tmp_path), own] for own in ("a", "b")]
    hammering = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in hammering] == [0, 0]
    expected = {f"{own}-{number}": Target("demo", str(number + 1)) for own in "ab" for number in range(0, 100, 2)}
    assert Aliases(tmp_path).all() == expected


async def test_an_alias_set_by_one_server_is_kept_by_the_other(servers: tuple[Running, Running], root: Path) -> None:
    one, other = servers
    await point(one, "stable", "1")
    await point(other, "latest", "2")
    assert json.loads((root / "aliases.json").read_text()).keys() == {"stable", "latest"}
    await one.rest.http.delete("/admin/aliases/stable", headers=KEY)
    assert (await point(other, "newest", "2"))["aliases"].keys() == {"latest", "newest"}  # type: ignore[attr-defined]


async def test_a_refresh_follows_the_aliases_of_other_servers(servers: tuple[Running, Running]) -> None:
    one, other = servers
    assert (await other.rest.classify(jpeg(), model="stable")).code == "unknown_model"
    await point(one, "stable", "1")
    await other.registry.deployer.refresh()
    assert (await other.rest.classify(jpeg(), model="stable")).version == "1"
    await point(one, "stable", "2")
    await other.registry.deployer.refresh()
    assert await other.rest.models() == [("demo", "1", "UNLOADED"), ("demo", "2", "READY")]
    await point(one, "stable", "1")
    await other.registry.deployer.refresh()
    assert (await other.rest.classify(jpeg(), model="stable")).version == "1"


BROKEN = {"a list": b"[1]", "no UTF-8": b"\xff{}", "deep": b"[" * 100_000, "cut off": b'{"stable"'}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_reported_at_the_start_with_its_cure(content: bytes, root: Path) -> None:
    (root / "aliases.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"aliases\.json cannot be understood.*remove it to begin without aliases"):
        Aliases(root)


async def test_a_file_that_breaks_later_is_reported_once_and_changed_by_nobody(
    servers: tuple[Running, Running], root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = servers
    await point(one, "stable", "1")
    (root / "aliases.json").write_text("{")
    for _ in range(3):
        await one.registry.deployer.refresh()
    assert len([record for record in caplog.records if "cannot be understood" in record.getMessage()]) == 1
    assert (await one.rest.classify(jpeg(), model="stable")).version == "1"
    refused = await one.rest.http.delete("/admin/aliases/stable", headers=KEY)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert (root / "aliases.json").read_text() == "{"


def test_a_change_that_cannot_be_written_holds_here_beside_what_others_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = Aliases(tmp_path), Aliases(tmp_path)
    with monkeypatch.context() as context:
        context.setattr(Path, "replace", _no_room)
        assert not mine.set("mine", Target("demo"))
    assert theirs.set("theirs", Target("demo"))
    assert mine.read().keys() == {"mine", "theirs"}
    assert mine.set("third", Target("demo"))
    assert Aliases(tmp_path).all().keys() == {"mine", "theirs", "third"}


def _no_room(path: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")


def test_a_lock_that_is_never_let_go_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(aliases, "_LOCK_LIMIT_S", 0.0)
    with (tmp_path / ".aliases.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match="Another server holds"):
            Aliases(tmp_path).set("stable", Target("demo"))


def test_without_locks_aliases_are_set_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "fcntl", None)
    assert Aliases(tmp_path).set("stable", Target("demo"))
    assert Aliases(tmp_path).all() == {"stable": Target("demo")}
