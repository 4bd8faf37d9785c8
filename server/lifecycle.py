"""Lifecycle: where the process stands between start and exit."""

from enum import Enum


class Phase(Enum):
    """In this order. LEAVING still accepts new work, so that load balancers have time to notice; DRAINING does not."""

    STARTING = "starting"
    SERVING = "serving"
    LEAVING = "leaving"
    DRAINING = "draining"


_ORDER = list(Phase)


class Lifecycle:
    """The current phase. `App` changes it, the faces and the service read it, all on the event loop."""

    def __init__(self) -> None:
        self._phase = Phase.STARTING
        self._broken = False

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def broken(self) -> bool:
        """Whether an engine hangs or too few decode threads are left, so that only a new process helps."""
        return self._broken

    @property
    def ready(self) -> bool:
        """Whether clients should send new requests here."""
        return self._phase is Phase.SERVING and not self._broken

    @property
    def accepting(self) -> bool:
        """Whether new work is accepted."""
        return self._phase is not Phase.DRAINING and not self._broken

    def advance(self, phase: Phase) -> None:
        """Enter a phase. Phases may be skipped; there is no way back."""
        assert _ORDER.index(phase) >= _ORDER.index(self._phase), f"{phase} after {self._phase}: this is a bug"
        self._phase = phase

    def break_down(self) -> None:
        """From now on no work is accepted. Nothing but a new process ends this."""
        self._broken = True
