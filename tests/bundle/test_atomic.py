"""Atomic writing: readers see a whole file, and a failure leaves the old one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundle.atomic import write_atomically


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    for data in (b"old", b"new"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_of_many_writers_at_once_one_wins_and_readers_see_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    contents = [bytes([number]) * 100_000 for number in range(16)]
    write_atomically(path, contents[0])

    def write_and_read(content: bytes) -> bytes:
        write_atomically(path, content)
        return path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write_and_read, contents)) <= set(contents)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    (folder / "by a folder").mkdir(parents=True)
    with pytest.raises(OSError, match="taken"):
        write_atomically(folder, b"new")
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "by a folder").is_dir()
