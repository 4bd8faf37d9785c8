"""Messages: passes TensorRT's messages to Python's log, and remembers the last errors."""

import functools
import logging
import threading
from collections import deque

import tensorrt

log = logging.getLogger("tensorrt")

_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.DEBUG,
}


class Messages(tensorrt.ILogger):  # type: ignore[misc]  # tensorrt has no types
    """TensorRT's logger. TensorRT keeps the first one for the whole process, and calls `log` from its own threads."""

    def __init__(self) -> None:
        tensorrt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=3)
        self._lock = threading.Lock()

    def log(self, severity: "tensorrt.ILogger.Severity", msg: str) -> None:
        level = _LEVELS[severity.name]
        if not log.isEnabledFor(level):
            return
        if level >= logging.ERROR:
            with self._lock:
                self._errors.append(msg)
        log.log(level, "%s", msg)

    def clear(self) -> None:
        """Forget the errors so far, before something new begins."""
        with self._lock:
            self._errors.clear()

    def last_errors(self) -> str:
        """The last errors in one line, for the text of an exception."""
        with self._lock:
            return "; ".join(" ".join(error.split()) for error in self._errors) or "TensorRT gave no reason"


@functools.cache
def messages() -> Messages:
    """The logger of this process."""
    return Messages()
