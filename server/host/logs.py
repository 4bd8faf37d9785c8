"""Logs: lines go to stderr through a bounded queue, so that a slow reader of stderr cannot block the server."""

import logging
import os
import queue
import sys
from logging.handlers import QueueHandler, QueueListener
from typing import NoReturn

_MAX_LINES = 10_000
_LAST_LINES_S = 1.0


class DroppingHandler(QueueHandler):
    """Drops and counts lines while the queue is full: a pipe that nobody reads must not delay an answer."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]") -> None:
        super().__init__(lines)
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class Logs:
    """The log of the process. Any thread may log; one thread of its own writes the lines."""

    def __init__(self, level: str, process: str = "") -> None:
        """`process`: the name of this one, where several write to the same stderr."""
        self._lines: queue.Queue[logging.LogRecord] = queue.Queue(_MAX_LINES)
        self._handler = DroppingHandler(self._lines)
        self._handler.setFormatter(logging.Formatter("%(message)s"))  # the writer adds the rest
        writer = logging.StreamHandler(sys.stderr)
        name = f"{process} %(name)s" if process else "%(name)s"
        writer.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {name} %(message)s"))
        logging.basicConfig(level=level.upper(), handlers=[self._handler], force=True)
        logging.captureWarnings(True)
        QueueListener(self._lines, writer).start()

    def dropped(self) -> int:
        """The number of lines that were dropped since the start."""
        return self._handler.dropped

    def end_process(self, code: int) -> NoReturn:
        """Exit with this code. Waits up to a second for the last lines to be written, and for no other thread: some
        cannot be stopped.
        """
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, _LAST_LINES_S)
        sys.stdout.flush()
        os._exit(code)
