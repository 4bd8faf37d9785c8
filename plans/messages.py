"""Messages: what TensorRT says, into Python's log, with the last errors at hand."""

import functools
import logging
import threading
from collections import deque

import tensorrt as trt

log = logging.getLogger("tensorrt")

_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.DEBUG,
}


class Messages(trt.ILogger):  # type: ignore[misc]  # tensorrt has no types
    """TensorRT keeps the first logger that it was given for the whole process, and calls it from threads of its own."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=3)
        self._lock = threading.Lock()

    def log(self, severity: "trt.ILogger.Severity", msg: str) -> None:
        level = _LEVELS[severity.name]
        if not log.isEnabledFor(level):
            return
        if level >= logging.ERROR:
            with self._lock:
                self._errors.append(msg)
        log.log(level, "%s", msg)

    def forget(self) -> None:
        """What comes now is something else's."""
        with self._lock:
            self._errors.clear()

    def why(self) -> str:
        """The last errors, for an exception's text: one line, which TensorRT's own need not be."""
        with self._lock:
            return "; ".join(" ".join(error.split()) for error in self._errors) or "TensorRT gave no reason"


@functools.cache
def messages() -> Messages:
    """The process's one."""
    return Messages()
