"""A pull brings a version whole and verified, or not at all; it goes on where it broke off."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundle.errors import BundleError
from remote.contents import is_whole
from remote.errors import Absent, RemoteError, Unreachable
from remote.listing import Version, listing
from remote.pull import pull
from remote.stores.opening import open_store
from tests.support.published import publish
from tests.support.web_files import WebFiles, web_files

GRAPH = "/demo/1/model.onnx"


@pytest.fixture
def web(demo: Path, tmp_path: Path) -> Iterator[WebFiles]:
    """A web server with the demo as /demo/1."""
    shutil.copytree(demo, tmp_path / "served" / "demo" / "1")
    with web_files(tmp_path / "served") as web:
        yield web


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def waited_in_vain(seconds: float) -> None:
    raise AssertionError("a break after which something came is no reason to wait")


def pulled(url: str, root: Path, **options: Any) -> list[bool]:
    store = open_store(url)
    return [pull(store, version, root, **{"wait": waited_in_vain, **options}) for version in listing(store).versions]


def change(web: WebFiles, fields: dict[str, Any], of_graph: dict[str, Any] | None = None) -> None:
    """Write other fields into the manifest that the server has, and into its first graph."""
    path = web.root / "demo" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["graphs"][0] |= of_graph or {}
    path.write_text(json.dumps(manifest | fields))


def test_a_version_comes_byte_by_byte_and_the_second_time_nothing_is_fetched(
    web: WebFiles, here: Path, demo: Path
) -> None:
    assert pulled(f"{web.url}/demo/1", here) == [True]
    assert content(here / "demo" / "1") == content(demo)
    assert pulled(f"{web.url}/demo/1/", here) == [False]
    assert web.sent[GRAPH] == (demo / "model.onnx").stat().st_size


@pytest.mark.parametrize("ranges", [True, False])
def test_a_pull_that_is_cut_three_times_goes_on_where_it_stopped_if_the_server_can(
    web: WebFiles, here: Path, demo: Path, ranges: bool
) -> None:
    web.ranges, web.breaks = ranges, {GRAPH: [2_000_000, 1_000_000, 3_000_000]}
    size = (demo / "model.onnx").stat().st_size
    wait = waited_in_vain if ranges else (lambda seconds: None)
    assert pulled(f"{web.url}/demo/1", here, wait=wait) == [True]
    assert content(here / "demo" / "1") == content(demo)
    if ranges:
        asked = [range for path, range, _ in web.asked if path == GRAPH]
        assert asked == ["", "bytes=2000000-", "bytes=3000000-", "bytes=6000000-"]
        assert web.sent[GRAPH] == size
    else:
        assert web.sent[GRAPH] == size + 6_000_000


def test_a_pull_in_another_process_keeps_whole_files_and_goes_on_in_the_cut_one(
    web: WebFiles, here: Path, demo: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pulled(f"{web.url}/demo/1", here, progress=interrupt)
    assert visible(here / "demo") == []
    had = sum(path.stat().st_size for path in (here / "demo").glob(".pull-1-*/model.onnx"))
    assert had > 2_000_000
    web.sent.clear()
    assert pulled(f"{web.url}/demo/1", here) == [True]
    assert web.sent[GRAPH] == (demo / "model.onnx").stat().st_size - had
    assert (visible(here / "demo"), list((here / "demo").glob(".pull-1-*"))) == (["1"], [])


def test_a_server_that_breaks_off_with_nothing_is_given_up_after_three_pauses(web: WebFiles, here: Path) -> None:
    web.breaks = {GRAPH: [0] * 9}
    pauses: list[float] = []
    with pytest.raises(Unreachable, match="try again"):
        pulled(f"{web.url}/demo/1", here, wait=pauses.append)
    assert pauses == [1, 2, 4]
    assert visible(here / "demo") == []


@pytest.mark.parametrize("file", ["model.onnx", "labels.tsv", "probe.npz"])
def test_a_damaged_object_is_refused_and_named(web: WebFiles, here: Path, file: str) -> None:
    path = web.root / "demo" / "1" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RemoteError, match=rf"{file} in .*sha256 differs\): push the bundle again with --overwrite"):
        pulled(f"{web.url}/demo/1", here)
    assert visible(here / "demo") == []


def test_what_was_left_of_another_file_does_not_spoil_a_pull(web: WebFiles, here: Path, demo: Path) -> None:
    text = (demo / "manifest.json").read_bytes()
    draft = here / "demo" / f".pull-1-{hashlib.sha256(text).hexdigest()[:16]}"
    draft.mkdir(parents=True)
    (draft / "model.onnx").write_bytes(bytes(1000))
    (draft / "probe.npz").write_bytes(bytes(10_000_000))
    assert pulled(f"{web.url}/demo/1", here) == [True]
    assert content(here / "demo" / "1") == content(demo)


def test_another_bundle_of_that_number_is_kept_unless_told(web: WebFiles, here: Path, demo: Path) -> None:
    publish(demo, here, 1)
    (here / "demo" / "1" / "CARD.md").write_text("mine")
    with pytest.raises(BundleError, match=r"holds another bundle: .* --overwrite"):
        pulled(f"{web.url}/demo/1", here)
    assert (here / "demo" / "1" / "CARD.md").read_text() == "mine"
    assert pulled(f"{web.url}/demo/1", here, overwrite=True) == [True]
    assert content(here / "demo" / "1") == content(demo)
    assert not list((here / "demo").glob(".old-*"))


def test_a_damaged_copy_of_the_same_bundle_is_mended(web: WebFiles, here: Path) -> None:
    pulled(f"{web.url}/demo/1", here)
    (here / "demo" / "1" / "labels.tsv").unlink()
    assert pulled(f"{web.url}/demo/1", here) == [True]
    assert is_whole(here / "demo" / "1")


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/b", "..", ".hidden", "", "a\\b", "x\x00y", "manifest.json"])
def test_a_manifest_that_names_files_elsewhere_is_refused(web: WebFiles, here: Path, name: str) -> None:
    change(web, {}, {"file": name})
    with pytest.raises(RemoteError, match=r"export the|Export the"):
        pulled(f"{web.url}/demo/1", here)
    assert not here.exists()


@pytest.mark.parametrize("fields", [{"name": "../x"}, {"name": ""}, {"version": "../1"}, {"version": "01"}])
def test_a_manifest_that_names_another_folder_is_refused(web: WebFiles, here: Path, fields: dict[str, str]) -> None:
    change(web, fields)
    with pytest.raises(BundleError):
        pulled(f"{web.url}/demo/1", here)
    assert not here.exists()


@pytest.mark.parametrize("size", [0, -1, 1 << 40])
def test_a_graph_of_a_size_that_no_graph_has_is_refused(web: WebFiles, here: Path, size: int) -> None:
    change(web, {}, {"bytes": size})
    with pytest.raises(RemoteError, match="export the bundle again"):
        pulled(f"{web.url}/demo/1", here)


def test_a_file_without_an_end_is_cut_at_the_size_in_the_manifest(web: WebFiles, here: Path, demo: Path) -> None:
    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 16))

    web.special[GRAPH] = endless
    with pytest.raises(RemoteError, match="larger than the 6583591 bytes"):
        pulled(f"{web.url}/demo/1", here)
    assert sum(path.stat().st_size for path in here.rglob("*.onnx")) == 0
    web.special = {"/demo/1/manifest.json": endless}
    with pytest.raises(RemoteError, match="larger than"):
        pulled(f"{web.url}/demo/1", here)


def test_a_file_that_is_too_short_is_not_taken(web: WebFiles, here: Path) -> None:
    path = web.root / "demo" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RemoteError, match=r"ended after \d+ of \d+ bytes|sha256 differs"):
        pulled(f"{web.url}/demo/1", here, wait=lambda seconds: None)
    assert visible(here / "demo") == []


def test_a_place_that_contradicts_its_manifest_is_refused(demo: Path, tmp_path: Path, here: Path) -> None:
    shutil.copytree(demo, tmp_path / "store" / "other" / "7")
    with pytest.raises(RemoteError, match="at other/7 names itself demo/1"):
        pulled(str(tmp_path / "store"), here)


def test_a_disk_without_room_is_told_before(web: WebFiles, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(web.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(BundleError, match="make room"):
        pulled(f"{web.url}/demo/1", here)
    assert GRAPH not in web.sent


def test_nothing_there_is_said_with_the_cure(web: WebFiles, here: Path) -> None:
    with pytest.raises(Absent, match="give the URL of a version"):
        pulled(f"{web.url}/demo", here)


def test_a_version_is_what_the_listing_says(demo: Path, here: Path) -> None:
    store = open_store(str(demo.parents[1]))
    (version,) = listing(store).versions
    assert (version.name, version.version, version.folder) == ("demo", "1", "demo/1")
    assert pull(store, Version("demo", "1", "demo/1", ()), here)
