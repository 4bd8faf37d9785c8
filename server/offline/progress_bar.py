"""Progress bar: how many photos are done, on a terminal only."""

import time
from typing import TextIO

_DRAW_EVERY_S = 0.1


class ProgressBar:
    """One line that is drawn again and again. Clear it before anything else is written to the same terminal."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._shows = stream.isatty() and total > 1
        self._shown = ""
        self._drawn_at_s = 0.0
        self._began_at_s = time.monotonic()

    def show(self, done: int) -> None:
        """Draw it, unless it was drawn a moment ago."""
        now_s = time.monotonic()
        if not self._shows or (self._shown and now_s - self._drawn_at_s < _DRAW_EVERY_S):
            return
        filled = 30 * done // self._total
        a_second = done / max(now_s - self._began_at_s, 1e-3)
        shown = f"  [{'#' * filled}{'.' * (30 - filled)}] {done}/{self._total}  {a_second:.0f}/s"
        print(f"\r{shown:<{len(self._shown)}}", end="", file=self._stream, flush=True)
        self._shown, self._drawn_at_s = shown, now_s

    def clear(self) -> None:
        """Remove it; the next `show` draws it again."""
        if self._shown:
            print("\r" + " " * len(self._shown) + "\r", end="", file=self._stream, flush=True)
            self._shown = ""
