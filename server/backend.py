"""Backend: what answers the faces' requests besides themselves: the models, in this process or in another one."""

from typing import Protocol


class Backend(Protocol):
    """Runs on the event loop."""

    async def prepare(self) -> None:
        """Do what is to be done before the faces accept requests. It takes no longer than a moment."""
        ...

    async def load(self) -> bool:
        """Returns when the models can be served; False where the server shall not start."""
        ...

    async def keep(self) -> None:
        """Do what serving needs, until cancelled. Called after `load`."""
        ...

    async def idle(self) -> None:
        """Returns when all that was admitted is answered."""
        ...

    def unanswered(self) -> int:
        """Images admitted and not yet answered."""
        ...

    def close(self) -> None:
        """Serving has ended."""
        ...
