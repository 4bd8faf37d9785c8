"""Watching: how far TensorRT is with a plan, and how it is made to stop."""

import contextlib
import threading
from dataclasses import dataclass

import tensorrt as trt

from export.progress import Progress

_LONGEST = "computing profile costs"
"""TensorRT's name of the phase in which it spends nearly all of its time, with some steps for each batch size."""
_BEFORE = 0.05
"""Share of the bar for the phases before that one: they are most of the outermost phase's steps, and a few seconds."""

_PARTS = 1000


@dataclass
class _Phase:
    """A phase that TensorRT is in, and the share of its parent that it is: `start` to `start + share`, of 0 to 1."""

    start: float
    share: float
    steps: int
    done: int = 0

    def position(self) -> float:
        return self.start + self.share * min(self.done / self.steps, 1)


class Watching(trt.IProgressMonitor):  # type: ignore[misc]  # tensorrt has no types
    """Tells how far the longest phase is, steps of the phases inside it included. TensorRT calls it from threads of its
    own, where nothing may be raised.
    """

    def __init__(self, progress: Progress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._top = ""
        self._reached = 0
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """TensorRT gives up at its next step."""
        self._stopped.set()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        with self._lock:
            outer = self._phases.get(parent_phase or "")
            if parent_phase is None:
                self._top, start, share = phase_name, 0.0, _BEFORE
            elif phase_name.lower() == _LONGEST:
                start, share = _BEFORE, 1 - _BEFORE
            elif outer:
                start, share = outer.position(), outer.share / outer.steps
            else:
                return
            self._phases[phase_name] = _Phase(start, share, max(1, num_steps))

    def step_complete(self, phase_name: str, step: int) -> bool:
        with self._lock:
            if phase := self._phases.get(phase_name):
                phase.done = step + 1
                self._tell(phase.position())
        return not self._stopped.is_set()

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            if phase := self._phases.pop(phase_name, None):
                self._tell(phase.start + phase.share)
            if phase_name == self._top:
                self._tell(1)

    def _tell(self, position: float) -> None:
        """The bar never goes back: a step may hold several phases, one after the other."""
        done = round(_PARTS * min(position, 1))
        if done > self._reached and not self._stopped.is_set():  # phases finish where they are given up, too
            self._reached = done
            with contextlib.suppress(OSError):  # the terminal may have gone
                self._progress.advance(done, _PARTS)
