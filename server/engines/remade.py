"""Remade: an engine on a GPU that is made anew after a failure."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines import EngineLost

log = logging.getLogger(__name__)

T = TypeVar("T")


class Starts(Protocol):
    def start(self, pixels: Pixels) -> Callable[[], Probabilities]: ...


class Remade:
    """After an error that CUDA calls sticky every later call of the process fails; then nothing can be made anew, and
    the failures are EngineLost.

    A batch that is begun while another is in flight may be too early for the memory of both: its second beginning, when
    it alone is left (see `Batch.run`), is what counts.
    """

    def __init__(self, name: str, precision: str, make: Callable[[], Starts]) -> None:
        self.name = name
        self.precision = precision
        self._make = make
        self._engine: Starts | None = make()
        self._turn = threading.Lock()

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
            with self._turn:
                if self._engine is engine:
                    self._engine = None
            raise

    def _alive(self) -> Starts:
        with self._turn:
            if self._engine is None:
                try:
                    self._engine = self._make()
                except Exception as error:
                    raise EngineLost(f"{self.name} cannot be started again after a failure") from error
                log.warning("%s was started again after a failure", self.name)
            return self._engine
