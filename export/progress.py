"""Progress of long work: a bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

Advance = Callable[[int, int], None]
"""Reports how far a step has come: parts done, parts in all."""


class Progress:
    """Prints each step as it begins and the progress of the current one. The number of steps may be unknown.

    The thread that runs a step calls it; so does TensorRT from its own threads, one at a time (`BuildMonitor`).
    """

    def __init__(self, steps: int | None = None, stream: TextIO | None = None) -> None:
        self._steps = steps
        self._stream = stream or sys.stderr
        self._step = 0
        self._started = time.monotonic()
        self._bar_shown = False

    def step(self, what: str) -> None:
        """Begin the next step."""
        self._clear()
        self._step += 1
        elapsed_s = time.monotonic() - self._started
        step = f"{self._step}/{self._steps}" if self._steps else self._step
        print(f"[{step}] {elapsed_s:5.1f} s  {what}", file=self._stream, flush=True)

    def advance(self, done: int, total: int) -> None:
        """Show how many parts of the current step are done, on a terminal only."""
        if not self._stream.isatty():
            return
        filled = 30 * done // total
        print(f"\r  [{'#' * filled}{'.' * (30 - filled)}] {done}/{total}", end="", file=self._stream, flush=True)
        self._bar_shown = True
        if done >= total:
            self._clear()

    def _clear(self) -> None:
        if self._bar_shown:
            print("\r" + " " * 50 + "\r", end="", file=self._stream, flush=True)
            self._bar_shown = False
