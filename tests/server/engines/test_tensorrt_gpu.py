"""The TensorRT engine over fakes: overlapping batches, and what becomes of it when the GPU fails."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle import files
from bundle.files import Bundle
from server.engines import batch_size, probe_check
from server.engines.engine import EngineFailed, EngineLost, run_checked, start
from tests.support.fake_cuda import Cuda
from tests.support.fake_tensorrt import HEADER, Trt
from tests.trt.test_store import DATA, sidecar
from trt.store import Plan, Store


@pytest.fixture(scope="module")
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


@pytest.fixture
def engine(gpu: Cuda, bundle: Bundle, tmp_path: Path) -> Any:
    from server.engines import tensorrt_gpu

    told = b"[1, 4]"
    data = HEADER + len(told).to_bytes(4, "little") + told + bundle.graph("fp32")[1].read_bytes()
    return tensorrt_gpu.engine(Store(tmp_path).put(data, sidecar(data=data)), 0, "fp32")


def test_it_keeps_the_bundles_probe_in_batches_of_every_size(engine: Any, bundle: Bundle) -> None:
    assert probe_check.check(engine, bundle.probe, 32).max_dp < 1e-4
    assert 1 in batch_size.measure(engine, bundle.probe.pixels, 8)


def test_it_begins_with_a_batch_before_the_last_one_is_read(engine: Any, bundle: Bundle) -> None:
    pixels, expected = bundle.probe.pixels, bundle.probe.probabilities
    first = start(engine, pixels[:4], 200)
    second = start(engine, pixels[4:7], 200)
    assert np.abs(first() - expected[:4]).max() < 1e-4
    assert np.abs(second() - expected[4:7]).max() < 1e-4


def test_after_a_failed_batch_it_is_made_anew(
    engine: Any, gpu: Cuda, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.broken = True
    with pytest.raises(EngineFailed, match="tensorrt raised CUDAError"):
        run_checked(engine, bundle.probe.pixels[:4], 200)
    gpu.broken = False
    rows = run_checked(engine, bundle.probe.pixels[:4], 200)
    assert np.abs(rows - bundle.probe.probabilities[:4]).max() < 1e-4
    assert "started again" in caplog.text


def test_where_it_cannot_be_made_anew_it_is_lost(engine: Any, gpu: Cuda, trt: Trt, bundle: Bundle) -> None:
    gpu.broken = True
    with pytest.raises(EngineFailed):
        run_checked(engine, bundle.probe.pixels[:4], 200)
    for _ in range(2):
        with pytest.raises(EngineLost, match="cannot be started again"):
            run_checked(engine, bundle.probe.pixels[:4], 200)


def test_a_damaged_plan_is_never_run(engine: Any, tmp_path: Path) -> None:
    from server.engines import tensorrt_gpu
    from trt.errors import PlanError

    plan = Plan(tmp_path / "x.plan", sidecar())
    plan.path.write_bytes(DATA + b"more")
    with pytest.raises(PlanError, match="sha256 differs"):
        tensorrt_gpu.engine(plan, 0, "fp32")
