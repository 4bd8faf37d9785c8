"""The settings about keys, and a server that starts with them."""

import subprocess
import sys
from pathlib import Path

import pytest

from server import options
from server.settings import SettingsError
from server.startup.tree import Instructions
from tests.conftest import REPOSITORY
from tests.support import fast, keys
from tests.support.faces import running
from tests.support.pictures import jpeg

TOKEN = "a token of 16 characters"


def test_one_place_for_the_token() -> None:
    with pytest.raises(SettingsError, match="two places for one token"):
        options.read({"admin_token": TOKEN, "admin_token_file": "token"}, {})


def test_children_are_told_the_paths() -> None:
    settings = options.read({"keys": "keys.toml"}, {})
    told = Instructions.from_json(Instructions(settings, "name", 3).to_json()).settings
    assert (told.keys, told.admin_token_file) == (Path("keys.toml"), None)


@pytest.mark.parametrize("fronts", ["0", "2"])
def test_a_server_does_not_start_with_a_file_that_it_cannot_read(tmp_path: Path, fronts: str) -> None:
    fast.leave("starts a process")
    path = keys.write(tmp_path / "keys.toml", keys.table("a", rte=1))
    command = [sys.executable, "-m", "server", "--keys", str(path), "--fronts", fronts]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"server: {path}: key 1, 'a': there is no field 'rte'" in ended.stderr


@pytest.mark.anyio
async def test_metrics_can_be_open(demo: Path, tmp_path: Path) -> None:
    path = keys.write(tmp_path / "keys.toml", keys.table("a"))
    async with running(demo.parents[1], keys=path, metrics_need_key=False) as server:
        assert (await server.rest.http.get("/metrics")).status_code == 200
        assert (await server.rest.http.get("/models")).status_code == 401
        answer = await server.rest.http.post("/classify", content=jpeg(), headers=keys.bearer("a"))
        assert answer.status_code == 200
        assert await server.metric("sesame_requests_total", 'outcome="unauthorized"') == 1
        assert await server.metric("sesame_key_images_total", 'key="a",outcome="ok"') == 1


@pytest.mark.anyio
async def test_a_token_in_a_file_follows_the_file(demo: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with running(demo.parents[1], admin_token_file=file) as server:
        http = server.rest.http

        async def status(token: str) -> int:
            load = await http.post("/v2/repository/models/demo/load", headers={"Authorization": f"Bearer {token}"})
            return load.status_code

        assert (await status(TOKEN), await status("another token of some length")) == (200, 403)
        assert (await http.get("/models")).status_code == 200  # nothing else needs it
        file.write_text("another token of some length\n")
        while await status("another token of some length") != 200:
            pass
        assert await status(TOKEN) == 403


@pytest.mark.anyio
async def test_the_admin_token_is_a_key_where_keys_are_needed(demo: Path, tmp_path: Path) -> None:
    path = keys.write(tmp_path / "keys.toml", keys.table("a"))
    async with running(demo.parents[1], keys=path, admin_token=TOKEN) as server:
        http, mine = server.rest.http, {"Authorization": f"Bearer {TOKEN}"}
        assert (await http.post("/classify", content=jpeg(), headers=mine)).status_code == 200
        assert (await http.get("/metrics", headers=mine)).status_code == 200
        assert (await http.post("/admin/models/demo/load", headers=mine)).status_code == 200
        assert (await http.post("/admin/models/demo/load", headers=keys.bearer("a"))).status_code == 403
