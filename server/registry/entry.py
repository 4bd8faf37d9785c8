"""Entry: one version of a model, and its state from the first look at its files to the end of its service."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from server.registry.folder import Signature
from server.registry.loader import ReadyModel


class State(StrEnum):
    """What operators see. LOADING: it is being loaded, or the server has not yet decided whether to load it."""

    UNLOADED = "UNLOADED"
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"


_NEXT = {
    State.LOADING: {State.LOADING, State.READY, State.FAILED, State.UNLOADED},
    State.READY: {State.READY, State.UNLOADED},
    State.FAILED: {State.LOADING},
    State.UNLOADED: {State.LOADING},
}
"""A READY version stays READY while its newer files are loaded, and when they fail to load."""

_GONE = "its files are gone: the version in memory is served until they are back, or another version is ready"


@dataclass(eq=False)
class Entry:
    """A model version, ready or not. Read it anywhere on the event loop; change it by its methods only.

    `files`: what they looked like when they were last there. `tried`: what they looked like when they were last loaded,
    or unloaded by an operator; None: they may be loaded. `gone`: the files are not there at present.
    `fault`: why it FAILED, or, while READY, why its newer files are not served.
    `pinned`: an operator asked for this very version, so that it stays when newer ones come.
    """

    name: str
    version: str
    path: Path
    files: Signature
    tried: Signature | None = None
    state: State = State.LOADING
    fault: str = ""
    gone: bool = False
    pinned: bool = False
    ready: ReadyModel | None = None

    @property
    def reason(self) -> str:
        """What operators should know besides the state; "" where there is nothing."""
        return _GONE if self.gone else self.fault

    @property
    def changed(self) -> bool:
        """Whether its files are there and were not tried as they are now."""
        return not self.gone and self.files != self.tried

    def is_ready(self) -> bool:
        return self.ready is not None

    def answers(self) -> bool:
        """Whether it is ready and its engine does not fail at present."""
        return self.ready is not None and not self.ready.queue.sick

    def is_failing(self) -> bool:
        """Whether it is ready, but its engine fails at present."""
        return self.ready is not None and self.ready.queue.sick

    def observe(self, files: Signature | None) -> None:
        """Note the files that are there now; None: the folder is gone.

        An empty folder counts as gone if it was not empty before: an unmounted volume looks like that.
        """
        gone = files is None or (not files and bool(self.files))
        if self.gone and not gone and self.fault:
            self.tried = None  # it may have failed because its files were gone
        self.gone = gone
        if files is not None and not gone:
            self.files = files

    def begin(self) -> None:
        """Its files are being loaded as they are now."""
        self.tried, self.fault = self.files, ""
        self._enter(State.READY if self.ready else State.LOADING)

    def succeed(self, ready: ReadyModel) -> ReadyModel | None:
        """Requests go to `ready` from now on; returns the one that it replaces."""
        self._enter(State.READY)
        replaced, self.ready = self.ready, ready
        return replaced

    def fail(self, fault: str) -> None:
        """Its files cannot be served. What was served before still is."""
        self._enter(State.READY if self.ready else State.FAILED)
        self.fault = fault

    def skip(self) -> None:
        """It is not needed now; it is loaded when that changes."""
        if self.state is State.LOADING:
            self._enter(State.UNLOADED)

    def retire(self) -> ReadyModel:
        """No request goes there from now on; returns what served."""
        assert self.ready is not None, "only a ready version retires: this is a bug"
        self._enter(State.UNLOADED)
        retired, self.ready, self.fault = self.ready, None, ""
        return retired

    def keep_out(self) -> None:
        """An operator unloads it: these files are loaded again only when an operator asks for that."""
        self.tried, self.pinned = self.files, False

    def allow_load(self) -> None:
        """Its files may be loaded again, though they have not changed."""
        self.tried = None

    def pin(self, pinned: bool) -> None:
        self.pinned = pinned

    def _enter(self, state: State) -> None:
        assert state in _NEXT[self.state], f"{self.name}/{self.version}: {state} after {self.state}: this is a bug"
        self.state = state
