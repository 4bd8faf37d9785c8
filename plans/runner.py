"""Runner: a plan on its GPU. While one batch is computed the next is copied in."""

import queue
import threading
from collections.abc import Callable

import numpy as np
import tensorrt as trt
from cuda.core import Device, Event, EventOptions

from bundle.images import Pixels
from bundle.predictions import Probabilities
from plans.contexts import INPUT, OUTPUT, Contexts
from plans.errors import PlanError
from plans.messages import messages
from plans.slots import Slot
from plans.store import version

TENSORRT: str = trt.__version__
_AHEAD = 2  # batches: one that is computed and one that is copied in


class Runner:
    """Takes batches of any size up to the plan's largest; each is filled up to the next size that the plan has.

    Threads may share it. All memory is taken when it is made: two batches of pixels and rows on both sides, and one
    scratch space for all sizes, as the GPU computes one batch at a time.
    """

    def __init__(self, plan: bytes, gpu: int) -> None:
        """Raises PlanError, or cuda.core's errors where the GPU has no room or does not answer."""
        self._device = Device(gpu)
        self._device.set_current()
        messages().forget()
        self._runtime = trt.Runtime(messages())
        engine = self.engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanError(
                f"TensorRT {TENSORRT} does not take the plan, made by {version(plan) or 'nobody knows what'}: "
                f"{messages().why()}. Build it again."
            )
        _, *image = engine.get_tensor_shape(INPUT)
        _, classes = engine.get_tensor_shape(OUTPUT)
        self._copying, self._computing = self._device.create_stream(), self._device.create_stream()
        self._contexts = Contexts(engine, self._device, self._computing)
        self.sizes = self._contexts.sizes
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(_AHEAD):
            slot = Slot(self._device, self._computing, self.sizes[-1], tuple(image), classes)
            slot.launches = {size: self._contexts.launch(size, slot.pixels, slot.rows) for size in self.sizes}
            self._free.put(slot)
        self._turn = threading.Lock()

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Copy a batch in and queue its computation; the result waits for the rows, and must be called once.

        Waits while two batches are under way. Raises PlanError, or cuda.core's errors.
        """
        size = next((size for size in self.sizes if size >= len(pixels)), None)
        if size is None:
            raise PlanError(f"The plan takes up to {self.sizes[-1]} images at once, not {len(pixels)}.")
        slot = self._free.get()
        try:
            self._device.set_current()  # each thread has its own
            with self._turn:
                done = self._queue(slot, pixels, size)
        except BaseException:
            self._free.put(slot)
            raise
        held = [slot]

        def rows() -> Probabilities:
            if not held:
                raise RuntimeError("The rows of a batch were taken twice. This is a bug.")
            return self._rows(held.pop(), done, len(pixels))

        return rows

    def run(self, pixels: Pixels, at_once: int | None = None) -> Probabilities:
        """(n, height, width, 3) to (n, classes), in as many batches as it takes, of `at_once` images or the largest."""
        step = at_once or self.sizes[-1]
        return np.concatenate([self.start(pixels[at : at + step])() for at in range(0, len(pixels), step)])

    def _queue(self, slot: Slot, pixels: Pixels, size: int) -> Event:
        slot.copy_in(pixels, self._copying)
        self._computing.wait(self._copying.record())
        slot.launches[size](self._computing)
        slot.copy_out(len(pixels), self._computing)
        return self._computing.record(options=EventOptions(blocking_sync=True))  # a waiting core can decode

    def _rows(self, slot: Slot, done: Event, images: int) -> Probabilities:
        try:
            done.sync()
            return slot.answers(images)
        finally:
            self._free.put(slot)
