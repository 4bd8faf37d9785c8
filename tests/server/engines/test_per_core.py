"""Batches shared out among cores come back whole and in order."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.per_core import PerCoreEngine


def numbered(images: int) -> Pixels:
    return np.arange(images, dtype=np.uint8).reshape(images, 1, 1, 1).repeat(3, 3)


def rows(pixels: Pixels) -> Probabilities:
    return pixels[:, 0, 0, :1].astype(np.float32)


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
@pytest.mark.parametrize("at_once", [None, 1, 2])
@pytest.mark.parametrize("images", [1, 2, 3, 5, 8, 17])
def test_rows_come_in_the_order_of_the_images(cores: int, at_once: int | None, images: int) -> None:
    alone: list[int] = []
    together: list[int] = []

    def counted(sizes: list[int]) -> Callable[[Pixels], Probabilities]:
        def run(pixels: Pixels) -> Probabilities:
            sizes.append(len(pixels))
            return rows(pixels)

        return run

    answers = PerCoreEngine(cores, counted(alone), counted(together), at_once).run(numbered(images))
    assert answers[:, 0].tolist() == list(range(images))
    rest = images % cores if images % cores <= cores // 2 else 0
    assert together == ([rest] if rest else [])
    assert sum(alone) == images - rest
    assert max(alone, default=0) <= (at_once or -(-images // cores))
    assert at_once or len(alone) <= cores


def test_the_cores_work_at_the_same_time() -> None:
    met = threading.Barrier(3)  # passed only when three threads are in it

    def run(pixels: Pixels) -> Probabilities:
        met.wait(timeout=10)
        return rows(pixels)

    assert len(PerCoreEngine(3, run, run).run(numbered(6))) == 6


def test_a_core_that_is_done_begins_with_the_next_batch_while_the_other_still_works() -> None:
    slow, second = threading.Event(), threading.Event()

    def run(pixels: Pixels) -> Probabilities:
        if pixels[0, 0, 0, 0] == 0:
            assert slow.wait(timeout=10)
        if pixels[0, 0, 0, 0] == 9:
            second.set()
        return rows(pixels)

    divided = PerCoreEngine(2, run, run)
    first, then = divided.start(numbered(2)), divided.start(numbered(10)[8:])
    assert second.wait(timeout=10)
    slow.set()
    assert (first()[:, 0].tolist(), then()[:, 0].tolist()) == ([0, 1], [8, 9])


def test_a_part_that_raises_fails_the_batch_and_the_next_one_runs() -> None:
    def run(pixels: Pixels) -> Probabilities:
        if pixels[0, 0, 0, 0] == 3:
            raise OSError("no device")
        return rows(pixels)

    divided = PerCoreEngine(2, run, run, at_once=1)
    for _ in range(3):
        with pytest.raises(OSError, match="no device"):
            divided.run(numbered(4))
    assert len(divided.run(numbered(3))) == 3
