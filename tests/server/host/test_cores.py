"""How many cores there are to use, in a container too."""

import os
from pathlib import Path

import pytest

from server.host import cores


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", None), ("50000 100000", 1), ("150000 100000", 2), ("10000000 100000", None)]
)
def test_the_quota_of_the_control_group_is_kept(quota: str, expected: int | None, tmp_path: Path) -> None:
    mask = len(os.sched_getaffinity(0))
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota}\n")
    assert cores.usable(tmp_path) == (mask if expected is None else min(mask, expected))


def test_the_older_control_group_is_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "sys/fs/cgroup/cpu"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("100000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.usable(tmp_path) == 1
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores.usable(tmp_path) == len(os.sched_getaffinity(0))


def test_without_control_groups_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert cores.usable(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("machine", "features", "saturates"),
    [
        ("x86_64", ["avx2"], True),
        ("x86_64", ["avx2", "avx512f"], True),
        ("AMD64", [], True),
        ("x86_64", ["avx2", "avx_vnni"], False),
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], False),
        ("aarch64", ["asimddp"], False),
        ("arm64", [], False),
    ],
)
def test_an_x86_without_vnni_adds_8_bit_products_in_16_bits(
    machine: str, features: list[str], saturates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(cores, "features", lambda: features)
    assert cores.saturates() is saturates


def test_wished_threads_are_kept_and_zero_means_every_core() -> None:
    assert cores.shares(3, 5) == cores.Shares(3, 5)
    assert cores.shares(0, 0) == cores.Shares(cores.usable(), cores.usable())
