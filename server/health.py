"""Health: whether the process works, and whether it should get requests."""

from collections.abc import Awaitable, Callable, Sequence

from server.lifecycle import Lifecycle, Phase
from server.registry.catalogue import Catalogue
from server.registry.entry import Entry


class Health:
    """The faces read it at any time. All of it runs on the event loop."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        catalogue: Catalogue,
        on_change: Callable[[bool], Awaitable[None]],
        strict: bool = False,
    ) -> None:
        """`on_change` is called with the readiness when it has changed.

        `strict`: one model that does not answer makes the server unready.
        """
        self._lifecycle = lifecycle
        self._catalogue = catalogue
        self._on_change = on_change
        self._strict = strict
        self._published: bool | None = None

    @property
    def phase(self) -> str:
        return self._lifecycle.phase.value

    @property
    def alive(self) -> bool:
        """Where it is not, only a new process helps."""
        return not self._lifecycle.broken

    @property
    def ready(self) -> bool:
        """Whether clients should send new requests here: one model answers, or, with strict readiness, all do."""
        answers = any(entry.answers() for entry in self._catalogue.entries())
        lacking = self._strict and (self._catalogue.sick() or self._catalogue.unserved())
        return self._lifecycle.ready and answers and not lacking

    def ready_for(self, versions: Sequence[Entry]) -> bool:
        """Whether clients should send requests for this model here: its highest ready version answers.

        `versions` ascend. A model is ready although others still load.
        """
        accepts = self._lifecycle.phase in (Phase.STARTING, Phase.SERVING) and not self._lifecycle.broken
        ready = [entry for entry in versions if entry.ready]
        return accepts and bool(ready) and ready[-1].answers()

    async def publish(self) -> None:
        """Call `on_change` if the readiness has changed."""
        if self._published is not self.ready:
            self._published = self.ready
            await self._on_change(self._published)
