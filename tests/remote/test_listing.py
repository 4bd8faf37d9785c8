"""The listing finds versions under any URL, and is not hurt by what else is there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote import listing as listings
from remote.errors import RemoteError
from remote.listing import listing
from remote.store import Item, Reading
from remote.stores.opening import open_store
from tests.support.published import publish


class Names:
    """A store that holds these names, or as many as wanted."""

    url = "s3://bucket/models"

    def __init__(self, names: Iterator[str]) -> None:
        self._names = names
        self.told = 0

    def items(self, folder: str = "") -> Iterator[Item]:
        for name in self._names:
            self.told += 1
            yield Item(name, 1, "mark")

    def read(self, name: str, start: int = 0) -> Reading:
        raise AssertionError("a listing reads no object")


@pytest.fixture
def store(demo: Path, tmp_path: Path) -> Path:
    publish(demo, tmp_path, 1)
    publish(demo, tmp_path, 10)
    publish(demo, tmp_path, 2)
    publish(demo, tmp_path, 3, name="other")
    return tmp_path


def named(url: str) -> list[str]:
    return [f"{version.name}/{version.version}" for version in listing(open_store(url)).versions]


def test_a_repository_a_model_and_a_version_are_told_apart(store: Path) -> None:
    assert named(str(store)) == ["demo/1", "demo/2", "demo/10", "other/3"]
    assert named(store.as_uri()) == named(str(store))
    assert named(str(store / "demo")) == ["demo/1", "demo/2", "demo/10"]
    assert named(str(store / "demo" / "10")) == ["demo/10"]


def test_what_is_no_version_is_left_out(store: Path) -> None:
    (store / "demo" / "2" / "manifest.json").unlink()
    (store / "notes.txt").write_text("hello")
    (store / "demo" / "v3").mkdir()
    shutil.copy(store / "demo" / "1" / "manifest.json", store / "demo" / "v3")
    (store / "demo" / "01").mkdir()
    shutil.copy(store / "demo" / "1" / "manifest.json", store / "demo" / "01")
    assert named(str(store)) == ["demo/1", "demo/10", "other/3"]


def test_an_empty_store_is_told_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="holds no bundle: give the URL"):
        named(str(tmp_path))


def test_a_version_found_in_a_hundred_thousand_names() -> None:
    names = Names(iter([*(f"logs/{number}/a" for number in range(100_000)), "demo/1/manifest.json"]))
    assert [version.name for version in listing(names).versions] == ["demo"]


def test_a_listing_without_an_end_is_given_up() -> None:
    names = Names(f"{number}/x" for number in iter(int, 1))
    with pytest.raises(RemoteError, match="more than 200000 objects: give the URL"):
        listing(names)
    assert names.told == listings.MOST_ITEMS + 1
