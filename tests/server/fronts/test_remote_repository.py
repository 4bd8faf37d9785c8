"""Fronts serve what the core has fetched from a store; so do `classify` and the doctor, in a process of their own."""

import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.pictures import jpeg
from tests.support.published import publish
from tests.support.served_tree import FRONTS, served_tree
from tests.support.web_files import web_files

pytestmark = pytest.mark.anyio


async def test_a_tree_serves_a_store_and_follows_it(demo: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, tmp_path / "store" / "demo" / "1")
    with served_tree((tmp_path / "store").as_uri(), cache, "--watch-s=1") as tree:
        tree.listen()
        tree.ready("core", *FRONTS)
        async with tree.client() as http:
            assert (await http.post("/classify", content=jpeg())).json()["version"] == "1"
            publish(demo, tmp_path / "store", 2)
            tree.until("model ready name=demo version=2")
            while (answer := (await http.post("/classify", content=jpeg())).json())["version"] == "1":
                pass
            assert answer["version"] == "2"
        assert tree.end() == 0
    fetching = [line for line in tree.lines if "fetching name=demo" in line]
    assert [" core " in line for line in fetching] == [True, True]


@pytest.mark.parametrize("fronts", [0, 2])
def test_a_server_ends_at_once_while_a_store_does_not_answer(
    demo: Path, cache: Path, tmp_path: Path, fronts: int
) -> None:
    """Where it waits for the store, that takes two minutes."""
    shutil.copytree(demo, tmp_path / "1")
    asked, released = threading.Event(), threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        released.wait()

    with web_files(tmp_path) as web:
        web.special["/1/probe.npz"] = wait
        try:
            with served_tree(f"{web.url}/1", cache, fronts=fronts) as tree:
                tree.listen()
                asked.wait()
                assert tree.end() == 0
        finally:
            released.set()


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "server", *map(str, arguments), "--engine=onnxruntime-cpu"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)


def test_a_store_that_is_away_ends_the_server_without_a_word_of_its_password(tmp_path: Path) -> None:
    url = "http://u:hush@127.0.0.1:1/demo/1?sig=hush"
    ports = ("--http-port=0", "--grpc-port=0", "--fronts=0", "--log-level=debug", f"--cache-dir={tmp_path}")
    ended = run(f"--model-repository={url}", *ports)
    assert ended.returncode == 3
    assert "http://127.0.0.1:1/demo/1 cannot be reached (Connection refused)" in ended.stderr
    assert "stopping: No bundle of http://127.0.0.1:1/demo/1 is here" in ended.stderr
    assert "hush" not in ended.stdout + ended.stderr


def test_photos_are_classified_with_a_bundle_of_a_store(demo: Path, tmp_path: Path, cache: Path) -> None:
    shutil.copytree(demo, tmp_path / "store" / "demo" / "1")
    (tmp_path / "photo.jpg").write_bytes(jpeg(3))
    url = (tmp_path / "store").as_uri()
    done = run("classify", tmp_path / "photo.jpg", f"--model-repository={url}", f"--cache-dir={cache}")
    assert done.returncode == 0, done.stderr
    there = run("classify", tmp_path / "photo.jpg", f"--cache-dir={cache}")
    assert done.stdout == there.stdout
    nowhere = run("classify", tmp_path / "photo.jpg", "--model-repository=http://u:hush@127.0.0.1:1/demo/1")
    assert nowhere.returncode == 3
    assert "http://127.0.0.1:1/demo/1 cannot be reached" in nowhere.stderr
    assert "hush" not in nowhere.stderr


def test_the_doctor_says_what_a_store_holds(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, tmp_path / "store" / "demo" / "1")
    cache = f"--cache-dir={tmp_path / 'cache'}"
    well = run("doctor", f"--model-repository={(tmp_path / 'store').as_uri()}", cache)
    assert (well.returncode, "store holds demo/1" in well.stdout) == (0, True), well.stdout
    ill = run("doctor", "--model-repository=http://u:hush@127.0.0.1:1/demo/1", cache)
    assert (ill.returncode, "cannot be reached" in ill.stdout, "hush" in ill.stdout) == (1, True, False), ill.stdout
