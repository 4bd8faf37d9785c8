"""Logs: lines go to stderr through a bounded queue, so that a slow reader of stderr cannot block the server."""

import contextlib
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import NoReturn, TextIO

from server.host.log_formats import FORMATS, Event, quoted

__all__ = ["Event", "Logs", "QueuedLines", "quoted"]

_MAX_LINES = 10_000
_TOGETHER = 256  # lines are written in one call
_LAST_LINES_S = 1.0
_TEXT = logging.Formatter()
_GATHER_S = 0.02
"""The writer waits so long after a line for more. Else it would be woken for each line, and every time take Python's
global lock from the event loop: that was 8 % of what a request costs (measured, with an engine that takes no time)."""


class QueuedLines(logging.Handler):
    """Hands lines to a thread that writes them. Drops and counts lines while too many wait: a pipe that nobody reads
    must not delay an answer.

    Any thread may log.
    """

    def __init__(self, stream: TextIO, written: Callable[[logging.LogRecord], str]) -> None:
        """`written`: a record as it stands in the log. The thread calls it."""
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._line = written
        self._lines: deque[logging.LogRecord] = deque()
        self._there = threading.Event()  # lines wait
        self._ending = threading.Event()
        self._written = threading.Event()  # all lines from before the end

    def start(self) -> None:
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= _MAX_LINES:
            self.dropped += 1
            return None
        if not isinstance(record.msg, Event):  # an event does not change
            try:
                self._make_text(record)
            except Exception:
                return self.handleError(record)
        self._lines.append(record)
        if not self._there.is_set():
            self._there.set()
        return None

    def end(self, within_s: float) -> None:
        """Returns when the lines from before are written, or when that takes too long."""
        self._ending.set()
        self._there.set()
        self._written.wait(within_s)

    def _make_text(self, record: logging.LogRecord) -> None:
        """Now, because what the arguments say may change, and an exception holds the frames that it went through."""
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = _TEXT.formatException(record.exc_info)
            record.exc_info = None

    def _write(self) -> None:
        """In a thread of its own."""
        ending = False
        while not ending:
            self._there.wait()
            self._ending.wait(_GATHER_S)
            self._there.clear()  # first: what comes from now on sets it again
            ending = self._ending.is_set()
            while self._lines:
                self._write_some()
        self._written.set()

    def _write_some(self) -> None:
        together = [self._lines.popleft() for _ in range(min(_TOGETHER, len(self._lines)))]
        text = "".join([self._line(record) for record in together])
        with contextlib.suppress(OSError, ValueError):  # nobody can read it any more
            self._stream.write(text)
            self._stream.flush()


class Logs:
    """The log of the process. Any thread may log; one thread of its own writes the lines."""

    def __init__(self, level: str, process: str = "", format: str = "text") -> None:
        """`process`: the name of this one, where several write to the same stderr. `format`: text or json."""
        self._lines = QueuedLines(sys.stderr, FORMATS[format](process))
        logging.basicConfig(level=level.upper(), handlers=[self._lines], force=True)
        logging.captureWarnings(True)
        _record_no_origin()
        self._lines.start()

    def dropped(self) -> int:
        """The number of lines that were dropped since the start."""
        return self._lines.dropped

    def end_process(self, code: int) -> NoReturn:
        """Exit with this code. Waits up to a second for the last lines to be written, and for no other thread: some
        cannot be stopped.
        """
        self._lines.end(_LAST_LINES_S)
        sys.stdout.flush()
        os._exit(code)


def _record_no_origin() -> None:
    """Have records without what no line shows. These are the switches that Python's manual names for it."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
