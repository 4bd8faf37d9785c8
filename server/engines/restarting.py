"""RestartingEngine: an engine on a GPU that is created again after a failure."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.engine import EngineLost

log = logging.getLogger(__name__)

T = TypeVar("T")


class Starts(Protocol):
    def start(self, pixels: Pixels) -> Callable[[], Probabilities]: ...


class RestartingEngine:
    """Raises EngineLost where the engine cannot be created again: after an error that CUDA calls sticky, every later
    call of the process fails.

    A batch that begins while another is in flight may fail for want of memory. That is no loss: `Batch.run` begins with
    it once more when it is alone. A lock guards the engine, since the lane's two threads meet here.
    """

    def __init__(self, name: str, precision: str, make: Callable[[], Starts]) -> None:
        self.name = name
        self.precision = precision
        self._make = make
        self._engine: Starts | None = make()
        self._lock = threading.Lock()

    def start(self, pixels: Pixels) -> Callable[[], Probabilities]:
        engine = self._alive()
        rows = self._guarded(engine, lambda: engine.start(pixels))
        return lambda: self._guarded(engine, rows)

    def run(self, pixels: Pixels) -> Probabilities:
        return self.start(pixels)()

    def _guarded(self, engine: Starts, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception:
            with self._lock:
                if self._engine is engine:
                    self._engine = None
            raise

    def _alive(self) -> Starts:
        with self._lock:
            if self._engine is None:
                try:
                    self._engine = self._make()
                except Exception as error:
                    raise EngineLost(f"{self.name} cannot be started again after a failure") from error
                log.warning("%s was started again after a failure", self.name)
            return self._engine
