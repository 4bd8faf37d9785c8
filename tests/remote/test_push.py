"""A push puts a version there whole, its manifest last, and replaces nothing unless told."""

import json
from pathlib import Path

import pytest

from bundle.errors import BundleError
from remote.errors import RemoteError
from remote.listing import listing
from remote.push import push
from remote.store import Report
from remote.stores.folder import FolderStore
from remote.stores.opening import open_writable
from tests.support.published import publish


def quiet(done: int, total: int) -> None: ...


class Written(FolderStore):
    """Notes what is written and removed, in order; ends at the object of that name."""

    def __init__(self, root: Path, ends_at: str = "") -> None:
        super().__init__(root)
        self.order: list[str] = []
        self._ends_at = ends_at

    def write(self, name: str, path: Path, report: Report) -> None:
        if self._ends_at and name.endswith(self._ends_at):
            raise KeyboardInterrupt
        super().write(name, path, report)
        self.order.append(name)

    def remove(self, name: str) -> None:
        super().remove(name)
        self.order.append(f"-{name}")


def test_the_manifest_comes_last_and_equal_content_is_not_sent_again(demo: Path, tmp_path: Path) -> None:
    store = Written(tmp_path)
    assert push(demo, store, quiet)
    names = ("model.onnx", "labels.tsv", "probe.npz", "CARD.md", "manifest.json")
    assert store.order == [f"demo/1/{name}" for name in names]
    assert {path.name: path.read_bytes() for path in (tmp_path / "demo" / "1").iterdir()} == {
        path.name: path.read_bytes() for path in demo.iterdir()
    }
    assert not push(demo, store, quiet)
    assert len(store.order) == 5
    (tmp_path / "demo" / "1" / "labels.tsv").unlink()
    assert push(demo, store, quiet)


def test_another_bundle_of_that_number_stays_unless_told(demo: Path, tmp_path: Path) -> None:
    changed = publish(demo, tmp_path / "other", 1)
    store = Written(tmp_path / "store")
    push(demo, store, quiet)
    with pytest.raises(RemoteError, match=r"holds another bundle as demo/1: export it as a new version"):
        push(changed, store, quiet)
    assert len(store.order) == 5
    assert push(changed, store, quiet, overwrite=True)
    assert store.order[5] == "-demo/1/manifest.json"
    assert store.order[-1] == "demo/1/manifest.json"


def test_a_push_that_is_interrupted_leaves_no_version(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        push(demo, Written(tmp_path, "probe.npz"), quiet)
    with pytest.raises(RemoteError, match="holds no bundle"):
        listing(FolderStore(tmp_path))
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_damaged_bundle_is_not_sent(demo: Path, tmp_path: Path) -> None:
    spoilt = publish(demo, tmp_path, 1, spoilt=True)
    store = Written(tmp_path / "store")
    with pytest.raises(BundleError, match=r"labels.tsv' is not the file its manifest names"):
        push(spoilt, store, quiet)
    assert store.order == []


def test_a_bundle_whose_manifest_names_files_elsewhere_is_not_sent(demo: Path, tmp_path: Path) -> None:
    folder = publish(demo, tmp_path, 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["graphs"][0]["file"] = "../../x"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RemoteError, match="not beside it"):
        push(folder, Written(tmp_path / "store"), quiet)


@pytest.mark.parametrize("url", ["https://someone:hush@host/models", "hf://owner/name"])
def test_where_nothing_can_be_put_is_told_before(url: str) -> None:
    with pytest.raises(RemoteError, match=r"Nothing can be pushed to .*'hf upload'") as caught:
        open_writable(url)
    assert "hush" not in str(caught.value)
