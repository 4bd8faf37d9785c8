"""The memory that a front and the core share: what fits, who sees what, and when it is gone."""

import fcntl
import gc
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from server.processes.wire.errors import LinkError
from server.processes.wire.region import MOST_CLASSES, ROW_BYTES, Region
from tests.support.descriptors import is_open, open_files, opened_since

SLOTS = 4
SLOT_BYTES = ROW_BYTES + 16 * mmap.PAGESIZE
WRITER = """
import sys
import numpy as np
from server.processes.wire.region import Region

region = Region(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
region.picture(2, 5, 7)[:] = np.arange(105, dtype=np.uint8).reshape(5, 7, 3)
print(region.read_row(1, 10).tolist(), flush=True)
region.write_row(3, np.linspace(0, 1, 10, dtype=np.float32))
"""


@pytest.fixture
def ours() -> Iterator[Region]:
    region = Region.create(SLOTS, SLOT_BYTES)
    yield region
    region.close()


def mapped() -> list[str]:
    """Where regions lie in this process's memory."""
    gc.collect()
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "sesame-region" in line]


def memfd(size_bytes: int, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_another_process_sees_the_picture_and_the_row() -> None:
    before = open_files()
    ours = Region.create(SLOTS, SLOT_BYTES)
    ours.write_row(1, np.arange(10, dtype=np.float32))
    command = [sys.executable, "-c", WRITER, *map(str, (ours.fd, SLOTS, SLOT_BYTES))]
    result = subprocess.run(command, pass_fds=[ours.fd], check=True, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == str([float(number) for number in range(10)])
    assert np.array_equal(ours.picture(2, 5, 7).ravel(), np.arange(105))
    assert np.array_equal(ours.read_row(3, 10), np.linspace(0, 1, 10, dtype=np.float32))
    ours.close()
    assert not opened_since(before)


def test_slots_do_not_touch_each_other(ours: Region) -> None:
    side = int((SLOT_BYTES - ROW_BYTES) / 3 / 128)
    for slot in range(SLOTS):
        ours.picture(slot, 128, side)[:] = slot + 1
        ours.write_row(slot, np.full(MOST_CLASSES, -slot - 1, np.float32))
    for slot in range(SLOTS):
        assert (ours.picture(slot, 128, side) == slot + 1).all()
        assert (ours.read_row(slot, MOST_CLASSES) == -slot - 1).all()


def test_a_picture_is_the_memory_itself_and_a_row_is_a_copy(ours: Region) -> None:
    picture = ours.picture(0, 2, 3)
    assert picture.shape == (2, 3, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    picture[1, 2] = (7, 8, 9)
    assert ours.picture(0, 2, 3)[1, 2].tolist() == [7, 8, 9]
    ours.write_row(0, np.ones(3, np.float32))
    row = ours.read_row(0, 3)
    row[:] = 5
    assert ours.read_row(0, 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("slot", [-1, SLOTS, 1 << 40])
def test_a_slot_that_does_not_exist_is_an_error_of_the_link(ours: Region, slot: int) -> None:
    with pytest.raises(LinkError, match="no slot"):
        ours.picture(slot, 1, 1)
    with pytest.raises(LinkError, match="no slot"):
        ours.write_row(slot, np.ones(1, np.float32))
    with pytest.raises(LinkError, match="no slot"):
        ours.read_row(slot, 1)


def test_the_largest_picture_fits_and_a_larger_one_is_an_error_of_the_link(ours: Region) -> None:
    most = (SLOT_BYTES - ROW_BYTES) // 3
    assert ours.picture(0, 1, most).size == most * 3
    for height, width in ((1, most + 1), (most + 1, 1), (0, 5), (5, 0), (-1, -1)):
        with pytest.raises(LinkError, match="does not fit"):
            ours.picture(0, height, width)


@pytest.mark.parametrize("classes", [0, -1, MOST_CLASSES + 1])
def test_a_row_that_does_not_fit_is_a_mistake_of_this_process(ours: Region, classes: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        ours.read_row(0, classes)
    with pytest.raises(ValueError, match="does not fit"):
        ours.write_row(0, np.ones(max(classes, 0), np.float32))


def test_a_region_is_sealed_so_that_nobody_can_shrink_it_under_a_reader(ours: Region) -> None:
    for size_bytes in (0, SLOTS * SLOT_BYTES + mmap.PAGESIZE):
        with pytest.raises(PermissionError):
            os.ftruncate(ours.fd, size_bytes)


def test_memory_is_taken_only_for_what_was_written() -> None:
    ours = Region.create()
    before = os.fstat(ours.fd).st_blocks
    ours.picture(0, 224, 224)[:] = 1
    taken_bytes = (os.fstat(ours.fd).st_blocks - before) * 512
    assert 224 * 224 * 3 <= taken_bytes < 1 << 20
    ours.close()


def test_closing_under_a_picture_leaves_the_picture_and_frees_all_with_it() -> None:
    before, mapped_before = open_files(), mapped()
    ours = Region.create(SLOTS, SLOT_BYTES)
    picture = ours.picture(0, 2, 2)
    picture[:] = 9
    fd = ours.fd
    ours.close()
    ours.close()
    assert not is_open(fd)
    assert (picture == 9).all()
    assert len(mapped()) == len(mapped_before) + 1
    with pytest.raises(LinkError, match="no slot"):
        ours.picture(0, 1, 1)
    del picture
    assert mapped() == mapped_before
    assert not opened_since(before)


def test_a_thread_may_read_a_picture_while_its_region_is_closed(ours: Region) -> None:
    sums: list[int] = []
    picture = ours.picture(0, 64, 64)
    picture[:] = 1
    began, closed = threading.Event(), threading.Event()

    def read() -> None:
        began.set()
        while not closed.is_set():
            sums.append(int(picture.sum()))
        sums.append(int(picture.sum()))

    thread = threading.Thread(target=read)
    thread.start()
    began.wait()
    ours.close()
    closed.set()
    thread.join()
    assert set(sums) == {64 * 64 * 3}


@pytest.mark.parametrize(
    ("opened", "what"),
    [
        (lambda: memfd(SLOTS * SLOT_BYTES, 0), "not sealed"),
        (lambda: memfd(SLOTS * SLOT_BYTES, fcntl.F_SEAL_SHRINK), "not sealed"),
        (lambda: memfd(SLOTS * SLOT_BYTES, fcntl.F_SEAL_GROW), "not sealed"),
        (lambda: memfd(SLOTS * SLOT_BYTES - 1), "bytes, not"),
        (lambda: memfd(SLOTS * SLOT_BYTES + mmap.PAGESIZE), "bytes, not"),
        (lambda: memfd(SLOTS * SLOT_BYTES, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW), "shared"),
        (lambda: os.open("/dev/null", os.O_RDWR), "shared"),
        (lambda: os.pipe2(os.O_CLOEXEC)[0], "shared"),
    ],
    ids=["unsealed", "may grow", "may shrink", "small", "large", "read-only", "device", "pipe"],
)
def test_what_is_no_region_is_an_error_of_the_link_and_is_closed(opened: Callable[[], int], what: str) -> None:
    number = opened()
    with pytest.raises(LinkError, match=what):
        Region(number, SLOTS, SLOT_BYTES)
    assert not is_open(number)


@pytest.mark.parametrize(("slots", "slot_bytes"), [(0, SLOT_BYTES), (1, ROW_BYTES), (1, SLOT_BYTES + 1)])
def test_sizes_that_cannot_be_are_refused_and_nothing_stays_open(slots: int, slot_bytes: int) -> None:
    before = open_files()
    with pytest.raises(LinkError, match="cannot have"):
        Region.create(slots, slot_bytes)
    assert not opened_since(before)
