"""Runner: runs plans on a fake GPU that works only when something waits for it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle import files
from bundle.files import Bundle
from tests.support.fake_cuda import Cuda, CUDAError
from tests.support.fake_tensorrt import HEADER, Trt
from trt.errors import PlanError


@pytest.fixture(scope="module")
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


def plan_of(bundle: Bundle, *batches: int) -> bytes:
    told = str(list(batches)).encode()
    return HEADER + len(told).to_bytes(4, "little") + told + bundle.graph("fp32")[1].read_bytes()


@pytest.fixture
def make(gpu: Cuda, bundle: Bundle) -> Callable[..., Any]:
    from trt.runner import Runner

    return lambda *batches: Runner(plan_of(bundle, *(batches or (1, 4, 8))), 0)


def test_rows_come_in_the_order_of_the_images_whatever_the_batch(make: Callable[..., Any], bundle: Bundle) -> None:
    runner = make()
    assert runner.sizes == [1, 4, 8]
    for images in (1, 3, 8, 32):
        rows = runner.run(bundle.probe.pixels[:images])
        assert np.abs(rows - bundle.probe.probabilities[:images]).max() < 1e-4
        assert np.abs(np.roll(rows, 1, 0) - bundle.probe.probabilities[:images]).max() > 0.1 or images == 1


def test_a_batch_is_copied_in_while_the_one_before_it_is_computed(make: Callable[..., Any], bundle: Bundle) -> None:
    """Two batches are in progress before anything waits; neither sees the other's pixels."""
    runner = make()
    pixels, expected = bundle.probe.pixels, bundle.probe.probabilities
    first, second = runner.start(pixels[:4]), runner.start(pixels[4:8])
    assert np.abs(second() - expected[4:8]).max() < 1e-4
    assert np.abs(first() - expected[:4]).max() < 1e-4


def test_rows_are_taken_once(make: Callable[..., Any], bundle: Bundle) -> None:
    rows = make().start(bundle.probe.pixels[:1])
    rows()
    with pytest.raises(RuntimeError, match="This is a bug"):
        rows()


def test_each_size_is_launched_as_one_cuda_graph(make: Callable[..., Any], gpu: Cuda, bundle: Bundle) -> None:
    runner = make()
    before = gpu.launched
    runner.run(bundle.probe.pixels[:3])
    runner.run(bundle.probe.pixels[:8])
    assert gpu.launched == before + 2


def test_where_nothing_can_be_captured_it_launches_without_graphs(
    make: Callable[..., Any], gpu: Cuda, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.graphs = False
    runner = make()
    assert "without a CUDA graph" in caplog.text
    rows = [runner.start(bundle.probe.pixels[at : at + 4]) for at in (0, 4)]
    assert np.abs(np.concatenate([row() for row in rows]) - bundle.probe.probabilities[:8]).max() < 1e-4
    assert gpu.launched == 0


def test_memory_is_taken_once(make: Callable[..., Any], gpu: Cuda, bundle: Bundle) -> None:
    runner = make()
    taken = gpu.allocated
    height, width, classes = 64, 64, 200
    assert taken == 2 * 2 * 8 * (height * width * 3 + 4 * classes) + 8 * 1000  # both sides of two slots, and scratch
    runner.run(bundle.probe.pixels)
    assert gpu.allocated == taken


def test_a_runner_that_is_let_go_where_no_gpu_is_current_gives_its_memory_back_where_one_is(
    make: Callable[..., Any], gpu: Cuda, bundle: Bundle
) -> None:
    """An event loop does this when a model is unloaded."""
    held = [make()]
    held[0].run(bundle.probe.pixels[:3])
    assert gpu.allocated > 0
    loop = threading.Thread(target=held.clear)
    loop.start()
    loop.join()
    kept = make(1)  # waits for the memory of the one before
    assert kept.sizes == [1]
    assert gpu.freed_on == [0] * len(gpu.freed_on) != []
    height, width, classes = 64, 64, 200
    assert gpu.allocated == 2 * 2 * (height * width * 3 + 4 * classes) + 1000


def test_a_runner_whose_rows_are_waited_for_is_not_closed(make: Callable[..., Any], bundle: Bundle) -> None:
    rows = make().start(bundle.probe.pixels[:1])
    assert np.abs(rows() - bundle.probe.probabilities[:1]).max() < 1e-4


def test_a_runner_of_a_gpu_that_is_lost_is_closed_all_the_same(
    make: Callable[..., Any], gpu: Cuda, bundle: Bundle
) -> None:
    runner = make()
    gpu.broken = True
    runner.start(bundle.probe.pixels[:1])
    del runner
    gpu.broken = False
    make(1)
    assert gpu.freed_on


@pytest.mark.parametrize(
    "call", ["deserialize", "context", "profile of a context", "shape", "infer", "address", "types"]
)
def test_what_tensorrt_refuses_is_told(make: Callable[..., Any], trt: Trt, call: str) -> None:
    trt.refuse = {call}
    with pytest.raises(PlanError, match=r"rejected|build it again|build the plan again|cannot load"):
        make()


def test_a_launch_that_is_refused_later_is_told_and_the_next_one_works(
    make: Callable[..., Any], gpu: Cuda, trt: Trt, bundle: Bundle
) -> None:
    gpu.graphs = False
    runner = make()
    trt.refuse = {"run"}
    for _ in range(5):  # a slot that was not given back would hold the third one up
        with pytest.raises(PlanError, match="rejected the run"):
            runner.run(bundle.probe.pixels[:1])
    trt.refuse = set()
    assert np.abs(runner.run(bundle.probe.pixels[:1]) - bundle.probe.probabilities[:1]).max() < 1e-4


def test_an_error_of_the_gpu_reaches_who_waits_for_the_rows(
    make: Callable[..., Any], gpu: Cuda, bundle: Bundle
) -> None:
    runner = make()
    gpu.broken = True
    rows = runner.start(bundle.probe.pixels[:1])
    with pytest.raises(CUDAError):
        rows()


def test_more_images_than_a_plan_takes_are_refused(make: Callable[..., Any], bundle: Bundle) -> None:
    with pytest.raises(PlanError, match="up to 8 images"):
        make().start(bundle.probe.pixels[:9])


def test_a_plan_of_another_tensorrt_is_told_by_its_header(gpu: Cuda) -> None:
    from trt.runner import Runner

    with pytest.raises(
        PlanError, match=r"TensorRT 11\.4\.0\.106 cannot load the plan, which was built by 10\.16\.1\.11"
    ):
        Runner(b"ftrt" + bytes(20) + bytes([10, 16, 1, 11]) + b"more", 0)
    with pytest.raises(PlanError, match="built by an unknown one"):
        Runner(b"rubbish", 0)


def test_too_little_memory_is_an_error(make: Callable[..., Any], gpu: Cuda) -> None:
    gpu.memory_bytes = 1000
    with pytest.raises(CUDAError, match="MEMORY"):
        make()
