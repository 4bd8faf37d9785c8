"""A batcher over an engine that holds its batches, and callers as the service has them."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bundle.images import Picture, Pixels
from bundle.predictions import Probabilities
from server.engines.per_core import Run
from server.scheduling.admission import Admission
from server.scheduling.batch import Batch, Start
from server.scheduling.batcher import Batcher
from server.scheduling.device import Device
from server.scheduling.fair_queue import Caller
from server.scheduling.latency import LatencyModel
from server.scheduling.permit import Permit


def picture(number: int) -> Picture:
    return np.full((2, 2, 3), number, dtype=np.uint8)


class Gate:
    """An engine that holds each batch until it is let through; every image's answer is its own number."""

    def __init__(self, open: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self._through = threading.Semaphore(0)
        self._open = open

    def run(self, pixels: Pixels) -> Probabilities:
        self.batches.append([int(image[0, 0, 0]) for image in pixels])
        self.entered.release()
        if not self._open:
            assert self._through.acquire(timeout=20)
        return pixels[:, 0, 0, :1].astype(np.float32)

    def let_through(self, batches: int = 1) -> None:
        self._through.release(batches)

    async def until_entered(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


def lazily(run: Run) -> Start:
    """As an engine that cannot begin ahead."""
    return lambda pixels: partial(run, pixels)


def batcher_of(
    run: Run,
    permits: int,
    max_batch: int,
    device: Device | None = None,
    observe: Callable[[Batch], None] = lambda batch: None,
    start: Start | None = None,
) -> Batcher:
    """A batcher that thinks its engine takes no time; it has the same one in each lane. `start` goes before `run`."""
    device = device or Device("test")
    starts = [start or lazily(run)] * device.lanes
    latency = LatencyModel(dict.fromkeys(range(1, max_batch + 1), 1e-9))
    return Batcher(starts, device, latency, max_batch, Admission(permits, max_wait_s=9), observe)


def reserve(batcher: Batcher, images: int) -> list[Permit]:
    return batcher.reserve(images, Caller(), time.monotonic() + 60)


def begin(permit: Permit, number: int) -> "asyncio.Task[float]":
    """A caller as the service is one: its permit is given back when its task ends."""

    async def ask() -> float:
        return float((await permit.submit(picture(number))).probabilities[0])

    task = asyncio.create_task(ask())
    task.add_done_callback(lambda _: permit.release())
    return task
