"""TensorRT: a plan that was built for this very GPU."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from bundle.images import Pixels
from bundle.predictions import Probabilities
from plans.runner import Runner
from plans.store import Plan
from server.engines import EngineLost

log = logging.getLogger(__name__)

T = TypeVar("T")


class TensorRtEngine:
    """Begins a batch while the one before it is computed. After a failure it makes its state on the GPU anew.

    An error that CUDA calls sticky ends every later call of the process too; then nothing can be made anew, and the
    failures are EngineLost.
    """

    name = "tensorrt"

    def __init__(self, plan: Plan, gpu: int, precision: str) -> None:
        self.precision = precision
        self._make: Callable[[], Runner] = lambda: Runner(plan.read(), gpu)
        self._runner: Runner | None = self._make()
        self._turn = threading.Lock()

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        runner = self._alive()
        if len(pixels) > runner.sizes[-1]:
            return lambda: self._guarded(runner, lambda: runner.run(pixels))
        rows = self._guarded(runner, lambda: runner.start(pixels))
        return lambda: self._guarded(runner, rows)

    def run(self, pixels: Pixels) -> Probabilities:
        return self.start(pixels)()

    def _guarded(self, runner: Runner, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception:
            with self._turn:
                if self._runner is runner:
                    self._runner = None
            raise

    def _alive(self) -> Runner:
        with self._turn:
            if self._runner is None:
                try:
                    self._runner = self._make()
                except Exception as error:
                    raise EngineLost("TensorRT cannot be started again after a failure") from error
                log.warning("TensorRT was started again after a failure")
            return self._runner
