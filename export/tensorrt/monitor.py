"""Build monitor: reports how far TensorRT has built a plan, and can stop it."""

import contextlib
import threading
from dataclasses import dataclass

import tensorrt

from export.progress import Progress

_LONGEST = "computing profile costs"
"""TensorRT's name of the phase in which it spends nearly all of its time, with some steps for each batch size."""
_BEFORE = 0.05
"""Share of the bar for the phases before that one: most steps of the outermost phase, but only a few seconds."""

_PARTS = 1000


@dataclass
class _Phase:
    """A phase of the build. It covers the bar from `start` to `start + share`, both 0..1."""

    start: float
    share: float
    steps: int
    done: int = 0

    def position(self) -> float:
        return self.start + self.share * min(self.done / self.steps, 1)


class BuildMonitor(tensorrt.IProgressMonitor):  # type: ignore[misc]  # tensorrt has no types
    """Reports the progress of the longest phase and of the phases inside it.

    TensorRT calls the `phase_` and `step_` methods from its own threads, possibly several at once, and they must not
    raise. `stop` is called by the thread that waits for the build.
    """

    def __init__(self, progress: Progress) -> None:
        tensorrt.IProgressMonitor.__init__(self)
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._top = ""
        self._reached = 0
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Make TensorRT give up at its next step."""
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
                self._report(phase.position())
        return not self._stopped.is_set()

    def phase_finish(self, phase_name: str) -> None:
        with self._lock:
            if phase := self._phases.pop(phase_name, None):
                self._report(phase.start + phase.share)
            if phase_name == self._top:
                self._report(1)

    def _report(self, position: float) -> None:
        """Move the bar, but never back: a step may contain several phases, one after the other. Needs the lock."""
        done = round(_PARTS * min(position, 1))
        if done > self._reached and not self._stopped.is_set():  # a stopped build also finishes its phases
            self._reached = done
            with contextlib.suppress(OSError):  # the terminal may be closed
                self._progress.advance(done, _PARTS)
