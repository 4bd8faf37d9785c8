"""The README's commands, as a newcomer would run them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.pictures import jpeg
from tests.server.faces import Running, running

pytestmark = pytest.mark.anyio
TEXT = (REPOSITORY / "README.md").read_text()


@pytest.fixture
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def labels(answer: dict[str, object]) -> list[str]:
    predictions = answer["predictions"]
    assert isinstance(predictions, list)
    return [row["label"] for row in predictions]


async def run(command: list[str], folder: Path) -> str:
    import anyio

    done = await anyio.run_process(command, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def test_the_curl_commands_and_the_grpc_client_give_the_same_top_five(server: Running, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    for name in ("photo.jpg", "other.png"):
        (tmp_path / name).write_bytes(jpeg(3))
    shutil.copytree(REPOSITORY / "proto", tmp_path / "proto")
    requests = [block for block in blocks("sh") if "/admin/" not in block]
    commands = [line.split("  #")[0].strip() for block in requests for line in block.splitlines() if "curl" in line]
    assert len(commands) == 4
    answers = []
    for command in commands:
        if "jq" in command and shutil.which("jq") is None:
            continue
        addressed = command.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.http_port}")
        answer = json.loads(await run(["bash", "-c", addressed.replace("curl", "curl -s")], tmp_path))
        answers += answer.get("results", [answer])
    (client,) = blocks("python")
    (tmp_path / "client.py").write_text(client.replace("127.0.0.1:8001", f"127.0.0.1:{server.grpc_port}"))
    printed = await run([sys.executable, "client.py"], tmp_path)
    for answer in answers:
        assert labels(answer) == [line.split("  ", 1)[1] for line in printed.splitlines()]


async def test_the_admin_commands_load_and_alias(demo: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (tmp_path / "photo.jpg").write_bytes(jpeg(3))
    shutil.copytree(demo.parents[1], tmp_path / "bundles")
    (block,) = (block for block in blocks("sh") if "/admin/" in block)
    token = "0123456789abcdef"
    async with running(tmp_path / "bundles", admin_token=token) as server:
        addressed = block.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.http_port}")
        script = addressed.replace("curl", "curl -sfw '\\n'").replace("$SESAME_ADMIN_TOKEN", token)
        printed = await run(["bash", "-ec", script], tmp_path)
    loaded, pointed, classified = (json.loads(line) for line in printed.splitlines())
    assert loaded["state"] == "READY"
    assert pointed["aliases"] == {"stable": {"model": "demo", "version": "1"}}
    assert classified["version"] == "1"


async def test_the_routes_of_the_readme_are_those_of_the_api(demo: Path) -> None:
    async with running(demo.parents[1], admin_token="0123456789abcdef") as server:
        described = set((await server.rest.http.get("/openapi.json")).json()["paths"])
    section = TEXT.split("## REST")[1].split("The body is")[0]
    told = {path.split("?")[0] for path in re.findall(r"`(?:GET |POST )?(/[a-z{}/.]*)", section)}
    assert told - {"/docs", "/openapi.json"} == described


def test_the_options_of_the_export_in_the_readme_are_all_there_are() -> None:
    options = {}
    for command in ("convert", "probe", "inspect", "verify", "build-engine"):
        help = subprocess.run(
            [sys.executable, "-m", "export", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        options[command] = set(re.findall(r"--[a-z][a-z-]+", help)) - {"--help", "--no-bgr"}
    section = TEXT.split("## Your own checkpoint")[1].split("## REST")[0]
    told = set(re.findall(r"--[a-z][a-z-]+", section))
    assert told <= set.union(*options.values())
    assert (options["convert"] | options["build-engine"]) - told == {"--bundles"}  # which the server's settings tell


def test_the_generated_grpc_code_is_that_of_the_contract(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", "sesame/v1/classifier.proto"]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*command, *outputs], cwd=REPOSITORY, check=True)
    for path in sorted((tmp_path / "sesame" / "v1").iterdir()):
        fresh = path.read_text().replace("from sesame.v1 import", "from server.pb.sesame.v1 import")
        assert (REPOSITORY / "server/pb/sesame/v1" / path.name).read_text() == fresh, f"run make proto ({path.name})"
