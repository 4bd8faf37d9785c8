"""Runner: runs a plan on its GPU. While one batch is computed, the next is copied in."""

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable

import numpy as np
import tensorrt
from cuda.core import Device, Event, EventOptions

from bundle.graph import INPUT, OUTPUT
from bundle.images import Pixels
from bundle.predictions import Probabilities
from trt.contexts import Contexts
from trt.errors import PlanError
from trt.messages import messages
from trt.slots import Slot
from trt.store import tensorrt_version

TENSORRT: str = tensorrt.__version__
_SLOTS = 2  # one batch that is computed and one that is copied in
_CLOSING = "closing a plan"  # the name of the threads that close plans
_CLOSE_LIMIT_S = 10.0


class Runner:
    """Runs batches of any size up to the plan's largest; each is padded to the next size that the plan has.

    Any thread may call it, several at once. All memory is allocated when the runner is made: two batches of pixels and
    rows on host and GPU, and one scratch space for all sizes, as the GPU computes one batch at a time. It is freed, in
    a thread of its own, after the last reference to the runner is gone.
    """

    def __init__(self, plan: bytes, gpu: int) -> None:
        """Load a plan on the GPU of that index.

        Raises PlanError, or cuda.core's errors where the GPU has too little memory or does not respond.
        """
        _wait_for_closings()
        self._device = Device(gpu)
        self._device.set_current()
        loaded = self._loaded = _Loaded(plan, self._device)
        self.engine, self.sizes = loaded.engine, loaded.contexts.sizes
        self._turn = threading.Lock()
        closing = weakref.finalize(self, _close, loaded, self._device)
        closing.atexit = False  # the end of the process frees everything anyway

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        """Copy a batch in and queue its computation. `pixels`: (n, height, width, 3) uint8.

        Returns a function that waits for the rows, (n, classes), and must be called exactly once, by any thread. Blocks
        while two batches are in progress. Raises PlanError, or cuda.core's errors.
        """
        size = next((size for size in self.sizes if size >= len(pixels)), None)
        if size is None:
            raise PlanError(f"The plan takes up to {self.sizes[-1]} images at once, not {len(pixels)}.")
        slot = self._loaded.free.get()
        try:
            self._device.set_current()  # CUDA's current device is a setting of each thread
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
        """The rows (n, classes) of any number of images, in batches of `at_once` images or the plan's largest size."""
        step = at_once or self.sizes[-1]
        return np.concatenate([self.start(pixels[at : at + step])() for at in range(0, len(pixels), step)])

    def _queue(self, slot: Slot, pixels: Pixels, size: int) -> Event:
        copying, computing = self._loaded.copying, self._loaded.computing
        slot.copy_in(pixels, copying)
        computing.wait(copying.record())
        slot.launches[size](computing)
        slot.copy_out(len(pixels), computing)
        return computing.record(options=EventOptions(blocking_sync=True))  # a waiting thread leaves its core to others

    def _rows(self, slot: Slot, done: Event, images: int) -> Probabilities:
        try:
            done.sync()
            return slot.answers(images)
        finally:
            self._loaded.free.put(slot)


class _Loaded:
    """A plan with everything it has on the GPU. The threads that make and close it have set the GPU as current."""

    def __init__(self, plan: bytes, device: Device) -> None:
        messages().clear()
        self.runtime = tensorrt.Runtime(messages())
        engine = self.engine = self.runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanError(
                f"TensorRT {TENSORRT} cannot load the plan, which was built by "
                f"{tensorrt_version(plan) or 'an unknown one'}: {messages().last_errors()}. Build it again."
            )
        _, *image = engine.get_tensor_shape(INPUT)
        _, classes = engine.get_tensor_shape(OUTPUT)
        self.copying, self.computing = device.create_stream(), device.create_stream()
        contexts = self.contexts = Contexts(engine, device, self.computing)
        self.free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(_SLOTS):
            slot = Slot(device, self.computing, contexts.sizes[-1], tuple(image), classes)
            slot.launches = {size: contexts.launch(size, slot.pixels, slot.rows) for size in contexts.sizes}
            self.free.put(slot)

    def close(self, device: Device) -> None:
        """Free everything in reverse order. Errors of a lost GPU are ignored: nothing can be done about them."""
        with contextlib.suppress(Exception):
            device.set_current()
            self.computing.sync()
        for name in ("free", "contexts", "computing", "copying", "engine", "runtime"):
            delattr(self, name)


def _close(loaded: _Loaded, device: Device) -> None:
    """Close a plan in a new thread. The calling thread dropped the last reference to the runner: it may be an event
    loop, which has no current GPU and must not wait for one. The thread is no daemon, or the process could end while it
    runs.
    """
    threading.Thread(target=loaded.close, args=(device,), name=_CLOSING).start()


def _wait_for_closings() -> None:
    """Wait for the threads that close plans: the next runner may need the memory that they free."""
    for thread in threading.enumerate():
        if thread.name == _CLOSING:
            thread.join(_CLOSE_LIMIT_S)
