"""Progress of long work: a bar on a terminal, plain lines in a log."""

import sys
import time
from typing import TextIO


class Progress:
    """Tells steps as they begin, of known number or not, and how far the current one has come."""

    def __init__(self, steps: int | None = None, stream: TextIO | None = None) -> None:
        self._steps = steps
        self._stream = stream or sys.stderr
        self._step = 0
        self._started = time.monotonic()
        self._bar_shown = False

    def step(self, what: str) -> None:
        """The next step begins."""
        self._clear()
        self._step += 1
        elapsed_s = time.monotonic() - self._started
        step = f"{self._step}/{self._steps}" if self._steps else self._step
        print(f"[{step}] {elapsed_s:5.1f} s  {what}", file=self._stream, flush=True)

    def advance(self, done: int, total: int) -> None:
        """The current step has done so many of its parts. Shown on a terminal only."""
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
