"""`--fronts auto`: none on small machines, and no more than the cores can feed."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from server.host import cores, gpu_nodes
from server.settings import Settings
from server.startup.front_count import front_count, useful_fronts

_PAGE = Path(__file__).parents[3] / "docs" / "decisions" / "processes.md"
_GPUS = (0, 1, 2, 4, 8)
_CORES = (2, 4, 6, 7, 8, 12, 16, 24, 32, 48, 64)

_LARGE = 16, 1
"""Cores and GPUs of a machine where fronts are useful."""


def _documented() -> dict[tuple[int, int], int]:
    """By cores and GPUs."""
    rows = re.findall(r"^\| (\d+) ((?:\| \d+ )+)\|$", _PAGE.read_text(), re.MULTILINE)
    return {
        (int(cores), gpus): int(fronts)
        for cores, cells in rows
        for gpus, fronts in zip(_GPUS, re.findall(r"\d+", cells), strict=True)
    }


def test_the_table_of_the_decision_is_what_auto_means() -> None:
    assert _documented() == {(cores, gpus): useful_fronts(cores, gpus) for cores in _CORES for gpus in _GPUS}


@pytest.mark.parametrize("gpus", _GPUS)
def test_each_front_has_three_cores_or_more_and_more_cores_never_mean_fewer_fronts(gpus: int) -> None:
    counts = [useful_fronts(cores, gpus) for cores in range(1, 129)]
    assert counts == sorted(counts)
    assert all(3 * fronts <= cores for cores, fronts in enumerate(counts, 1))
    assert 1 not in counts, "one front divides nothing"


@pytest.mark.parametrize("cores", range(1, 5))
def test_a_small_machine_without_a_gpu_has_one_process(cores: int) -> None:
    assert useful_fronts(cores, gpus=0) == 0


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(cores, "usable", lambda: _LARGE[0])
    monkeypatch.setattr(gpu_nodes, "count", lambda visible: _LARGE[1] if visible is None else 0)
    monkeypatch.setattr(metadata, "version", lambda package: "1.0")


def test_auto_counts_the_gpus_that_an_engine_may_use(large: None) -> None:
    assert front_count(Settings(), {}) == useful_fronts(*_LARGE) > 0
    assert front_count(Settings(engine="onnxruntime-cpu"), {}) == useful_fronts(_LARGE[0], 0)
    assert front_count(Settings(), {"CUDA_VISIBLE_DEVICES": ""}) == useful_fronts(_LARGE[0], 0)


def test_auto_counts_no_gpu_without_the_package_that_finds_it(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    assert front_count(Settings(), {}) == useful_fronts(_LARGE[0], 0)


def test_auto_is_one_process_where_fronts_cannot_run(large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert front_count(Settings(), {}) == 0


def test_a_number_counts_whatever_the_machine(large: None) -> None:
    assert [front_count(Settings(fronts=number), {}) for number in (0, 1, 5)] == [0, 1, 5]


def test_to_count_imports_no_runtime() -> None:
    """The parent must hold no CUDA context, and stays small."""
    program = (
        "import os, sys; from server.settings import Settings; from server.startup.front_count import front_count; "
        "front_count(Settings(), os.environ); print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"cuda", "tensorrt", "onnxruntime", "numpy", "fastapi", "grpc"} & set(ran.stdout.split())
