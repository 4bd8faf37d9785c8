"""Watching: how far TensorRT is with a plan, and how it is made to stop."""

import contextlib
import threading

import tensorrt as trt

from export.progress import Progress


class Watching(trt.IProgressMonitor):  # type: ignore[misc]  # tensorrt has no types
    """Tells the outermost phase's steps. TensorRT calls it from threads of its own, where nothing may be raised."""

    def __init__(self, progress: Progress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress
        self._phase = ""
        self._steps = 1
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """TensorRT gives up at its next step."""
        self._stopped.set()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        with self._lock:
            if parent_phase is None:
                self._phase, self._steps = phase_name, max(1, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        with self._lock:
            if phase_name == self._phase:
                self._tell(min(step + 1, self._steps))
        return not self._stopped.is_set()

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            if phase_name == self._phase:
                self._tell(self._steps)

    def _tell(self, done: int) -> None:
        with contextlib.suppress(OSError):  # the terminal may have gone
            self._progress.advance(done, self._steps)
