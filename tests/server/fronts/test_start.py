"""A tree that cannot start says why, and leaves no process."""

import shutil
import socket
import sys
from pathlib import Path

import pytest

from server.settings import Settings, SettingsError
from server.startup.tree import share_of_front
from tests.support.published import publish
from tests.support.served_tree import ServedTree, served_tree


def test_a_bundle_that_cannot_be_loaded_ends_the_tree_with_its_reason(demo: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, tmp_path / "demo" / "1")
    publish(demo, tmp_path, 1, spoilt=True, name="spoilt")
    with served_tree(tmp_path, cache) as tree:
        assert tree.exit_code() == 3
    said = [line for line in tree.lines if "labels.tsv of the bundle 'spoilt/1'" in line]
    assert said
    assert "ERROR core " in said[0]
    assert not any("starting it again" in line or "Traceback" in line for line in tree.lines)


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port"])
def test_a_taken_port_is_reported_with_its_cure(option: str, demo: Path, cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with served_tree(demo.parents[1], cache, f"{option}={number}") as tree:
            assert tree.exit_code() == 2
    assert any(
        "cannot listen on 127.0.0.1" in line and f"choose another port with {option}" in line for line in tree.lines
    )
    assert not any("started" in line or "Traceback" in line for line in tree.lines)


@pytest.mark.parametrize("fronts", [0, 2])
def test_a_second_server_on_the_same_grpc_port_is_refused(fronts: int, shared_tree: ServedTree, cache: Path) -> None:
    port = shared_tree.grpc.rpartition(":")[2]
    with served_tree(shared_tree.repository, cache, f"--grpc-port={port}", fronts=fronts) as second:
        assert second.exit_code() == 2
    assert any("choose another port with --grpc-port" in line for line in second.lines)


def test_fronts_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SettingsError, match="fronts needs Linux: serve with one process, --fronts 0"):
        Settings(fronts=2)
    assert Settings(fronts=0).fronts == 0


@pytest.mark.parametrize(("threads", "fronts", "of_one"), [(8, 2, 4), (8, 3, 3), (2, 2, 2), (4, 4, 2), (1, 2, 1)])
def test_each_front_has_two_decode_threads_at_least_as_far_as_allowed(threads: int, fronts: int, of_one: int) -> None:
    """With one alone, a photo that takes long would hold up all others."""
    assert share_of_front(Settings(decode_threads=threads), fronts).decode_threads == of_one


def test_what_fronts_may_hold_is_divided_and_fits_a_request_each() -> None:
    share = share_of_front(Settings(max_connections=100, receive_bytes=512 << 20), 8)
    assert (share.max_connections, share.receive_bytes) == (13, 128 << 20)
