"""Shared memory: only files that clients may name, only bytes that are there."""

import os
import signal
from pathlib import Path

import pytest

from server.errors import Code, ServingError
from server.openinference.regions import Regions
from server.openinference.request import RegionPart

KEY = "/sesame-one"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sesame-one"
    path.write_bytes(bytes(range(100)))
    return path


@pytest.fixture
def regions(tmp_path: Path, file: Path) -> Regions:
    return Regions("sesame-", tmp_path)


def refused(code: Code, what: object, *arguments: object) -> None:
    with pytest.raises(ServingError) as refusal:
        what(*arguments)  # type: ignore[operator]
    assert refusal.value.code is code, refusal.value


def test_a_part_is_read_and_written(regions: Regions, file: Path) -> None:
    regions.register("a", KEY, 10, 50)
    assert regions.read(RegionPart("a", 5, 3)) == bytes([15, 16, 17])
    regions.write(RegionPart("a", 0, 4), b"\xff\xfe")
    assert file.read_bytes()[9:13] == bytes([9, 255, 254, 12])
    assert [(each.name, each.key, each.offset, each.size_bytes) for each in regions.all()] == [("a", KEY, 10, 50)]


@pytest.mark.parametrize(
    "key",
    ["/other", "/../sesame-one", "/sesame-/../x", "sesame-one/x", "//sesame-one", "", "/", "/sesame-\0", "/etc/passwd"],
)
def test_other_files_are_out_of_reach(regions: Regions, key: str) -> None:
    refused(Code.FORBIDDEN, regions.register, "a", key, 0, 1)


def test_only_memory_is_opened(regions: Regions, tmp_path: Path) -> None:
    (tmp_path / "sesame-link").symlink_to("/etc/passwd")
    (tmp_path / "sesame-folder").mkdir()
    os.mkfifo(tmp_path / "sesame-pipe")
    refused(Code.MALFORMED, regions.register, "a", "/sesame-link", 0, 1)
    refused(Code.MALFORMED, regions.register, "a", "/sesame-folder", 0, 1)
    refused(Code.FORBIDDEN, regions.register, "a", "/sesame-pipe", 0, 0)
    refused(Code.MALFORMED, regions.register, "a", "/sesame-missing", 0, 1)


def test_what_is_not_there_is_not_registered(regions: Regions) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    refused(Code.MALFORMED, regions.register, "a", KEY, 0, 101)
    refused(Code.MALFORMED, regions.register, "a", KEY, 100, 1)
    assert regions.all() == []
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_part_outside_of_its_region_is_refused(regions: Regions) -> None:
    regions.register("a", KEY, 10, 50)
    refused(Code.MALFORMED, regions.read, RegionPart("a", 0, 51))
    refused(Code.MALFORMED, regions.read, RegionPart("a", 50, 1))
    refused(Code.MALFORMED, regions.write, RegionPart("a", 49, 2), b"12")
    refused(Code.MALFORMED, regions.write, RegionPart("a", 0, 1), b"12")
    refused(Code.MALFORMED, regions.read, RegionPart("b", 0, 1))


def test_a_file_that_was_cut_is_an_error_and_no_signal(regions: Regions, file: Path) -> None:
    regions.register("a", KEY, 0, 100)
    os.truncate(file, 50)
    assert signal.getsignal(signal.SIGBUS) is signal.SIG_DFL
    refused(Code.MALFORMED, regions.read, RegionPart("a", 0, 100))
    refused(Code.MALFORMED, regions.write, RegionPart("a", 60, 10), bytes(10))
    assert file.stat().st_size == 50


def test_a_name_is_registered_once_and_forgotten_at_will(regions: Regions) -> None:
    regions.register("a", KEY, 0, 100)
    refused(Code.CONFLICT, regions.register, "a", KEY, 0, 100)
    regions.unregister("a")
    regions.unregister("a")
    regions.register("a", KEY, 0, 100)
    regions.register("b", KEY, 0, 50)
    regions.unregister()
    assert regions.all() == []


def test_their_number_is_limited(regions: Regions) -> None:
    for number in range(1024):
        regions.register(str(number), KEY, 0, 1)
    refused(Code.QUEUE_FULL, regions.register, "more", KEY, 0, 1)
    regions.unregister()


def test_without_a_prefix_there_is_no_shared_memory(tmp_path: Path, file: Path) -> None:
    regions = Regions("", tmp_path)
    assert not regions.are_allowed
    refused(Code.FORBIDDEN, regions.register, "a", KEY, 0, 1)
    refused(Code.FORBIDDEN, regions.read, RegionPart("a", 0, 1))
