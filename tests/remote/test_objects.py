"""An object store, over a real S3 protocol: bundles go there and come back, and errors name the cure."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remote.errors import Absent, RemoteError, Unreachable
from remote.listing import listing
from remote.pull import pull
from remote.push import push
from remote.store import content
from remote.stores.opening import open_store, open_writable
from tests.conftest import REPOSITORY
from tests.support.published import publish
from tests.support.s3 import S3


def quiet(done: int, total: int) -> None: ...


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "export", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_goes_there_and_comes_back_byte_by_byte(s3: S3, demo: Path, tmp_path: Path) -> None:
    url = "s3://bucket/there-and-back"
    pushed = run("push", str(demo.parents[1]), url)
    assert (pushed.returncode, pushed.stdout) == (0, "demo/1\n"), pushed.stderr
    assert run("push", "demo", url).stdout == "demo/1 is there already\n"
    for place, folder in ((url, "a"), (f"{url}/demo", "b"), (f"{url}/demo/1/", "c")):
        pulled = run("pull", place, str(tmp_path / folder))
        assert (pulled.returncode, pulled.stdout) == (0, f"{tmp_path / folder}/demo/1\n"), pulled.stderr
        assert files(tmp_path / folder / "demo" / "1") == files(demo)
    assert (tmp_path / "a" / "demo" / "config.pbtxt").read_text() == (demo.parent / "config.pbtxt").read_text()


def test_a_large_file_goes_in_parts_and_a_pull_goes_on_in_the_middle(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(20 << 20))
    store = open_writable("s3://bucket/large")
    told: list[int] = []
    store.write("folder/large", tmp_path / "large", told.append)
    assert told == [8 << 20, 16 << 20, 20 << 20, 20 << 20]
    (item,) = store.items("folder")
    assert item[:2] == ("folder/large", 20 << 20)
    reading = store.read("folder/large", 5 << 20)
    assert (reading.start, b"".join(reading.chunks)) == (5 << 20, (tmp_path / "large").read_bytes()[5 << 20 :])
    assert store.read("folder/large", 20 << 20).start == 0
    store.remove("folder/large")
    with pytest.raises(Absent):
        store.read("folder/large")


def test_a_prefix_that_only_begins_alike_is_another_folder(s3: S3, demo: Path, tmp_path: Path) -> None:
    push(demo, open_writable("s3://bucket/models-2"), quiet)
    with pytest.raises(Absent, match="s3://bucket/models holds no bundle"):
        listing(open_store("s3://bucket/models"))


def test_a_mark_changes_with_the_content(s3: S3) -> None:
    store = open_store("s3://bucket/marks")
    s3.put("marks/x", b"one")
    (before,) = store.items()
    s3.put("marks/x", b"two")
    (after,) = store.items()
    assert before.mark != after.mark


def test_a_damaged_object_is_refused_and_named(s3: S3, demo: Path, tmp_path: Path) -> None:
    push(demo, open_writable("s3://bucket/damaged"), quiet)
    s3.damage("damaged/demo/1/model.onnx")
    pulled = run("pull", "s3://bucket/damaged", str(tmp_path))
    assert pulled.returncode == 1
    assert "model.onnx in s3://bucket/damaged (demo/1/model.onnx) is not the file its manifest names" in pulled.stderr
    assert not (tmp_path / "demo" / "1").exists()
    assert run("push", "demo", "s3://bucket/damaged", "--overwrite").stdout == "demo/1\n"
    assert run("pull", "s3://bucket/damaged", str(tmp_path)).returncode == 0


def test_another_bundle_is_replaced_only_if_told(s3: S3, demo: Path, tmp_path: Path) -> None:
    changed = str(publish(demo, tmp_path, 1))
    assert run("push", str(demo), "s3://bucket/other").returncode == 0
    refused = run("push", changed, "s3://bucket/other")
    assert refused.returncode == 1
    assert "holds another bundle as demo/1" in refused.stderr
    assert run("push", changed, "s3://bucket/other", "--overwrite").stdout == "demo/1\n"
    (version,) = listing(open_store("s3://bucket/other")).versions
    with pytest.raises(Exception, match="--overwrite"):
        publish(demo, tmp_path / "here", 1)
        (tmp_path / "here" / "demo" / "1" / "manifest.json").write_text("{}")
        pull(open_store("s3://bucket/other"), version, tmp_path / "here")


def test_a_bucket_that_is_not_there_is_told(s3: S3) -> None:
    with pytest.raises(RemoteError, match="s3://nowhere/models"):
        listing(open_store("s3://nowhere/models"))


def test_a_store_that_does_not_answer_is_unreachable_and_tells_no_secret(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="s3://bucket/models does not answer") as caught:
        content(open_store("s3://bucket/models"), "x", 10)
    assert "hush" not in str(caught.value)


def test_without_the_package_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "remote.stores.objects", raising=False)
    with pytest.raises(RemoteError, match="gs:// needs the package obstore: install it with 'pip install obstore'"):
        open_store("gs://bucket/models")


@pytest.mark.parametrize("command", ["push", "pull"])
def test_an_interrupted_transfer_leaves_nothing_in_part(s3: S3, demo: Path, tmp_path: Path, command: str) -> None:
    """The store is slow: a proxy waits before it hands on the end of the largest file."""
    from tests.support.slow_proxy import slow_proxy

    url = f"s3://bucket/interrupted-{command}"
    if command == "pull":
        push(demo, open_writable(url), quiet)
    with slow_proxy(s3.url, most_bytes=3_000_000) as proxy:
        told = [str(demo), url] if command == "push" else [url, str(tmp_path)]
        with subprocess.Popen(
            [sys.executable, "-m", "export", command, *told],
            cwd=REPOSITORY,
            env={**os.environ, "AWS_ENDPOINT_URL": proxy.url},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert proxy.holds.wait(120)
            process.send_signal(signal.SIGINT)
            killer = threading.Timer(100, process.kill)
            killer.start()
            _, said = process.communicate()
            killer.cancel()
    assert (process.returncode, "interrupted; no version is there in part" in said) == (130, True), said
    if command == "push":
        with pytest.raises(Absent):
            listing(open_store(url))
    else:
        assert not (tmp_path / "demo" / "1").exists()
    assert run(command, *told).returncode == 0
