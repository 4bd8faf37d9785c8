"""SE's kernels are correct in Triton's interpreter, which needs no GPU."""

import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """Runs in a new process: Triton reads TRITON_INTERPRET only at its import, and other tests compile."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.tensorrt.interpreted"],
        cwd=REPOSITORY,
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_kernels_agree_with_torch_in_every_precision_layout_and_tactic(answers: dict[str, Any]) -> None:
    rows = answers["compared"]
    assert len(rows) == 6 * 3 * 2 * 3 * 2
    assert [row["case"] for row in rows if row["fault_possible"] and not row["fault_seen"]] == []
    assert [row["case"] for row in rows if not row["kept"]] == []


def test_gates_of_sums_far_from_zero_are_0_and_1_and_a_nan_stays_one(answers: dict[str, Any]) -> None:
    low, lower, half, high, higher, unknown, *_ = answers["extremes"]["gates"]
    assert (low, half, higher) == (0.0, 0.5, 1.0)
    assert lower < 1e-40 and high == 1.0
    assert math.isnan(unknown)
    (pooled,) = answers["extremes"]["pooled"]
    assert math.isnan(pooled)


def test_relu_takes_what_is_negative_and_leaves_a_nan(answers: dict[str, Any]) -> None:
    first, *rest = answers["extremes"]["scaled"]
    assert math.isnan(first)
    assert rest == [math.inf, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5]


def test_all_elements_are_written_and_none_behind_them(answers: dict[str, Any]) -> None:
    assert answers["unwritten"]
