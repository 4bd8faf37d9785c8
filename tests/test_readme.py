"""README and docs/: their commands, as a newcomer would run them, and the names in them, as the code has them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.faces import Running, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio

_PAGES = [*REPOSITORY.glob("*.md"), *sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "bench" / "README.md"]
_ROOMS = "bundle|models|trt|explain|remote|export|server|tests|bench|docs|proto|deploy"


@pytest.fixture
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


def page(name: str) -> str:
    return (REPOSITORY / name).read_text()


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)


def curl_commands(name: str) -> list[str]:
    lines = [line for block in blocks(name, "sh") for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if "curl" in line]


def options(module: str, *command: str) -> set[str]:
    help = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"--[a-z][a-z-]+", help)) - {"--help", "--no-bgr"}


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
    commands = curl_commands("README.md") + curl_commands("docs/rest.md")
    assert len(commands) == 4
    answers = []
    for command in commands:
        if "jq" in command and shutil.which("jq") is None:
            continue
        addressed = command.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.http_port}")
        answer = json.loads(await run(["bash", "-c", addressed.replace("curl", "curl -s")], tmp_path))
        answers += answer.get("results", [answer])
    (client,) = blocks("README.md", "python")
    (tmp_path / "client.py").write_text(client.replace("127.0.0.1:8001", f"127.0.0.1:{server.grpc_port}"))
    printed = await run([sys.executable, "client.py"], tmp_path)
    for answer in answers:
        assert labels(answer) == [line.split("  ", 1)[1] for line in printed.splitlines()]


async def test_the_admin_commands_load_and_alias(demo: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (tmp_path / "photo.jpg").write_bytes(jpeg(3))
    shutil.copytree(demo.parents[1], tmp_path / "bundles")
    (block,) = (block for block in blocks("docs/operating.md", "sh") if "/admin/" in block)
    token = "0123456789abcdef"
    async with running(tmp_path / "bundles", admin_token=token) as server:
        addressed = block.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.http_port}")
        script = addressed.replace("curl", "curl -sfw '\\n'").replace("$SESAME_ADMIN_TOKEN", token)
        printed = await run(["bash", "-ec", script], tmp_path)
    loaded, pointed, classified = (json.loads(line) for line in printed.splitlines())
    assert loaded["state"] == "READY"
    assert pointed["aliases"] == {"stable": {"model": "demo", "version": "1"}}
    assert classified["version"] == "1"


async def test_the_routes_in_the_guide_are_those_of_the_api(demo: Path) -> None:
    async with running(demo.parents[1], admin_token="0123456789abcdef") as server:
        described = set((await server.rest.http.get("/openapi.json")).json()["paths"])
    section = page("docs/rest.md").split("## Routes")[1].split("## ")[0]
    told = {path.split("?")[0] for path in re.findall(r"`(?:GET |POST )?(/[a-z{}/.]*)", section)}
    assert told - {"/", "/docs", "/openapi.json"} == described


def test_the_options_of_the_export_in_the_guides_are_all_there_are() -> None:
    known = {
        name: options("export", name)
        for name in ("convert", "diagnose", "inspect", "verify", "features", "build-engine")
    }
    guides = "".join(map(page, ("docs/checkpoints.md", "docs/detectors.md", "docs/precisions.md", "docs/gpu.md")))
    told = set(re.findall(r"--[a-z][a-z-]+", guides))
    assert told == set.union(*known.values())


def test_the_options_of_push_and_pull_in_their_guide_are_all_there_are() -> None:
    of_others = {"--format", "--build-arg"}  # of aws and docker
    told = set(re.findall(r"--[a-z][a-z-]+", page("docs/remote.md"))) - of_others
    own = options("export", "push") | options("export", "pull")
    assert own <= told <= own | options("server")


def test_the_options_of_the_server_in_the_guides_exist() -> None:
    of_others = {"--data-binary", "--json"}  # curl's
    told = set(re.findall(r"--[a-z][a-z-]+", "".join(map(page, ("docs/operating.md", "docs/rest.md")))))
    assert told - of_others <= options("server")


def test_the_options_of_classify_in_its_guide_are_its_own_and_exist() -> None:
    own = {"--model", "--version", "--top-k", "--json", "--csv"}
    told = set(re.findall(r"--[a-z][a-z-]+", page("docs/classify.md"))) - {"--help"}
    assert own <= told <= options("server", "classify")


@pytest.mark.parametrize("path", _PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_make_target_module_and_file_that_a_page_names_exists(path: Path) -> None:
    text = path.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    modules = set(re.findall(r"python -m ((?:bench|tests|server|export)[a-z0-9_.]*)", text))
    files = set(re.findall(rf"`((?:{_ROOMS})/[\w/.-]*[\w/])`", text))
    named = {module.replace(".", "/") for module in modules} | files
    assert {name for name in named if not _exists(name) and "/results/" not in name} == set()


def _exists(name: str) -> bool:
    return any((REPOSITORY / each).exists() for each in (name, f"{name}.py"))


def test_every_metric_that_the_guides_name_is_in_the_page_of_metrics() -> None:
    there = set(re.findall(r"^\| `(\w+)` \|", page("docs/metrics.md"), re.MULTILINE))
    told = set(re.findall(r"(?<!:)\b(?:sesame|nv)_\w+", page("docs/operating.md") + page("docs/compose.md")))
    assert told <= there
    assert "sesame_drain_seconds" in told


def test_the_front_door_stays_short() -> None:
    lines = {name: len(page(name).splitlines()) for name in ("README.md", "ARCHITECTURE.md")}
    assert lines["README.md"] <= 150
    assert lines["ARCHITECTURE.md"] <= 200


def test_the_generated_grpc_code_is_that_of_the_contracts(tmp_path: Path) -> None:
    contracts = sorted(str(path.relative_to(REPOSITORY / "proto")) for path in (REPOSITORY / "proto").rglob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *outputs, *contracts]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    generated = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(generated) == 3 * len(contracts)
    for path in generated:
        imports = re.compile(r"^from (sesame\.v1|inference) import", re.MULTILINE)
        fresh = imports.sub(r"from server.pb.\1 import", path.read_text())
        name = path.relative_to(tmp_path)
        assert (REPOSITORY / "server/pb" / name).read_text() == fresh, f"run make proto ({name})"


def test_every_contract_is_generated() -> None:
    named = re.search(r"^CONTRACTS := (.*)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    assert set(named[1].split()) == {
        str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "proto").rglob("*.proto")
    }
