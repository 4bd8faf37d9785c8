"""Runner: a plan on its GPU. While one batch is computed the next is copied in."""

import contextlib
import queue
import threading
import weakref
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
_CLOSING = "closing a plan"  # name of threads
_CLOSES_IN_S = 10.0


class Runner:
    """Takes batches of any size up to the plan's largest; each is filled up to the next size that the plan has.

    Threads may share it. All memory is taken when it is made: two batches of pixels and rows on both sides, and one
    scratch space for all sizes, as the GPU computes one batch at a time. It is given back after the last reference to
    the runner is gone, whichever thread had that one.
    """

    def __init__(self, plan: bytes, gpu: int) -> None:
        """Raises PlanError, or cuda.core's errors where the GPU has no room or does not answer."""
        _wait_for_closings()
        self._device = Device(gpu)
        self._device.set_current()
        loaded = self._loaded = _Loaded(plan, self._device)
        self.engine, self.sizes = loaded.engine, loaded.contexts.sizes
        self._turn = threading.Lock()
        closing = weakref.finalize(self, _close, loaded, self._device)
        closing.atexit = False  # the end of the process gives all back

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Copy a batch in and queue its computation; the result waits for the rows, and must be called once.

        Waits while two batches are under way. Raises PlanError, or cuda.core's errors.
        """
        size = next((size for size in self.sizes if size >= len(pixels)), None)
        if size is None:
            raise PlanError(f"The plan takes up to {self.sizes[-1]} images at once, not {len(pixels)}.")
        slot = self._loaded.free.get()
        try:
            self._device.set_current()  # each thread has its own
            with self._turn:
                done = self._queue(slot, pixels, size)
        except BaseException:
            self._loaded.free.put(slot)
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
        copying, computing = self._loaded.copying, self._loaded.computing
        slot.copy_in(pixels, copying)
        computing.wait(copying.record())
        slot.launches[size](computing)
        slot.copy_out(len(pixels), computing)
        return computing.record(options=EventOptions(blocking_sync=True))  # a waiting core can decode

    def _rows(self, slot: Slot, done: Event, images: int) -> Probabilities:
        try:
            done.sync()
            return slot.answers(images)
        finally:
            self._loaded.free.put(slot)


class _Loaded:
    """A plan, and all that it has on the GPU. It is made and closed in threads where the GPU is current."""

    def __init__(self, plan: bytes, device: Device) -> None:
        messages().forget()
        self.runtime = trt.Runtime(messages())
        engine = self.engine = self.runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanError(
                f"TensorRT {TENSORRT} does not take the plan, made by {version(plan) or 'nobody knows what'}: "
                f"{messages().why()}. Build it again."
            )
        _, *image = engine.get_tensor_shape(INPUT)
        _, classes = engine.get_tensor_shape(OUTPUT)
        self.copying, self.computing = device.create_stream(), device.create_stream()
        contexts = self.contexts = Contexts(engine, device, self.computing)
        self.free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(_AHEAD):
            slot = Slot(device, self.computing, contexts.sizes[-1], tuple(image), classes)
            slot.launches = {size: contexts.launch(size, slot.pixels, slot.rows) for size in contexts.sizes}
            self.free.put(slot)

    def close(self, device: Device) -> None:
        """Give all back, what was made last first. A GPU that is lost does not take it, which no one needs to know."""
        with contextlib.suppress(Exception):
            device.set_current()
            self.computing.sync()
        for name in ("free", "contexts", "computing", "copying", "engine", "runtime"):
            delattr(self, name)


def _close(loaded: _Loaded, device: Device) -> None:
    """In a thread of its own. The thread that let the runner go may be an event loop, which has no current GPU, and
    must not wait for one. No daemon, as the process would end under it.
    """
    threading.Thread(target=loaded.close, args=(device,), name=_CLOSING).start()


def _wait_for_closings() -> None:
    """The memory that they give back may be what the next runner needs."""
    for thread in threading.enumerate():
        if thread.name == _CLOSING:
            thread.join(_CLOSES_IN_S)
