"""Bundles on disk: written whole or not at all, and every change is noticed."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundle import draft, files
from bundle.errors import BundleError
from bundle.manifest import Manifest


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "demo" / "1"
    shutil.copytree(demo, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_a_manifest_survives_writing_and_reading(demo: Path) -> None:
    text = (demo / "manifest.json").read_text()
    assert Manifest.from_json(text).to_json() == text


def test_a_bundle_is_written_under_the_next_version(copy: Path, tmp_path: Path) -> None:
    bundle = files.read(copy)
    written = draft.publish(tmp_path, bundle.manifest, contents(copy))
    assert written == tmp_path / "demo" / "2"
    assert files.read(written).manifest == dataclasses.replace(bundle.manifest, version="2")


def test_of_many_writers_at_once_each_gets_a_version_of_its_own(copy: Path, tmp_path: Path) -> None:
    manifest = files.read(copy).manifest
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: draft.publish(tmp_path, manifest, {"labels.tsv": b""}), range(24)))
    assert sorted(int(path.name) for path in written) == list(range(2, 26))
    assert all(json.loads((path / "manifest.json").read_text())["version"] == path.name for path in written)


class Interrupted(Mapping[str, bytes]):
    """Two files; the user presses Ctrl-C before the second one is read."""

    def __getitem__(self, name: str) -> bytes:
        if name == "b":
            raise KeyboardInterrupt
        return b"content"

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


def test_an_interrupted_write_leaves_nothing_behind(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        draft.publish(tmp_path, files.read(demo).manifest, Interrupted())
    assert list((tmp_path / "demo").iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b", "a" * 65, "white space"])
def test_a_name_that_is_no_folder_name_is_refused(name: str, demo: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot name a bundle"):
        draft.publish(tmp_path, dataclasses.replace(files.read(demo).manifest, name=name), {})


@pytest.mark.parametrize("name", ["model.onnx", "labels.tsv", "probe.npz"])
def test_a_changed_file_is_noticed(name: str, copy: Path) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} .*sha256 differs"):
        files.read(copy)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "labels.tsv", "probe.npz"])
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} .*cannot be read"):
        files.read(copy)


def _newer(data: dict[str, object]) -> None:
    data["schema"] = 2


def _no_source(data: dict[str, object]) -> None:
    del data["source"]


def _wrong_kind(data: dict[str, dict[str, object]]) -> None:
    data["labels"]["classes"] = "many"


def _elsewhere(data: dict[str, list[dict[str, object]]]) -> None:
    data["graphs"][0]["file"] = "../1/model.onnx"


def _beyond_floats(data: dict[str, dict[str, object]]) -> None:
    data["preprocessing"]["mean"] = [10**400, 0, 0]


def _no_path(data: dict[str, list[dict[str, object]]]) -> None:
    data["graphs"][0]["file"] = "a\0b"


def _no_margin(data: dict[str, dict[str, object]]) -> None:
    data["preprocessing"]["resize_to"] = 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_newer, "schema 2 .*update Sesame"),
        (_no_source, r"manifest\.source is missing"),
        (_wrong_kind, r"manifest\.labels\.classes must be int, not 'many'"),
        (_elsewhere, "not beside it"),
        (_beyond_floats, "contradict each other"),
        (_no_path, "contradict each other"),
        (_no_margin, "resize_to must be at least the size"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_by_its_field(
    change: Callable[[dict[str, object]], None], message: str, copy: Path
) -> None:
    data = json.loads((copy / "manifest.json").read_text())
    change(data)
    (copy / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=message):
        files.read(copy)


def test_what_is_no_json_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        files.read(copy)


def test_a_pickle_in_the_probe_is_never_opened(copy: Path) -> None:
    import numpy as np

    np.savez(copy / "probe.npz", pixels=np.array([{}], dtype=object), probabilities=np.zeros((1, 200)))
    data = json.loads((copy / "manifest.json").read_text())
    data["probe_sha256"] = hashlib.sha256((copy / "probe.npz").read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"probe\.npz cannot be read"):
        files.read(copy)


def test_drafts_and_foreign_files_are_no_bundles(copy: Path, tmp_path: Path) -> None:
    for name in (".tmp-1234", "demo/.tmp-1234", "demo/0", "demo/01", "demo/1\u0663", "demo/latest", ".git/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "demo" / "config.pbtxt").write_text("")
    assert list(files.find(tmp_path)) == [("demo", "1", copy)]
