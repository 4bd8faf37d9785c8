"""Lifecycle: where the process stands between start and exit."""

from enum import Enum


class Phase(Enum):
    """In order. LEAVING still takes new work, so that load balancers have time to look elsewhere; DRAINING does not."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"
    DRAINING = "draining"


class Lifecycle:
    """The current phase; moved by `app` alone, read by the faces and the service."""

    def __init__(self) -> None:
        self.phase = Phase.STARTING
        self.broken = False  # an engine hangs, which only a new process can mend

    def advance(self, phase: Phase) -> None:
        self.phase = phase

    @property
    def ready(self) -> bool:
        """Whether new traffic should be sent here."""
        return self.phase is Phase.SERVING and not self.broken

    @property
    def accepting(self) -> bool:
        """Whether new work is taken on."""
        return self.phase is not Phase.DRAINING and not self.broken
