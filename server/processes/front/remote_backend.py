"""RemoteBackend: the models of the core, for the app of a front."""

import asyncio
import contextlib
import logging

from server import triton_metrics
from server.errors import ServingError
from server.metrics import Metrics
from server.processes.front.mirror import Mirror
from server.processes.front.remote_queue import core_is_gone
from server.processes.front.session import Session
from server.processes.wire import exposition
from server.processes.wire import messages as m
from server.processes.wire.errors import LinkError

log = logging.getLogger(__name__)

_AGAIN_S = 0.1  # after a connection that failed


class RemoteBackend:
    """Keeps a session with the core, and begins another one when it ends. Runs on the event loop of a front."""

    def __init__(self, name: str, mirror: Mirror, metrics: Metrics) -> None:
        """`name`: of the control socket."""
        self._name = name
        self._mirror = mirror
        self._metrics = metrics
        self._session: Session | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._preparing: set[asyncio.Task[None]] = set()

    async def load(self) -> bool:
        """Returns when all that the core found at its start can be served here."""
        self._connecting = asyncio.create_task(self._stay_connected())
        await self._mirror.complete.wait()
        return True

    async def keep(self) -> None:
        """The session stays until `close`: while the front drains, it needs the core."""
        await asyncio.Event().wait()

    async def idle(self) -> None:
        if self._session:
            await self._session.idle.wait()

    def unanswered(self) -> int:
        return self._session.unanswered() if self._session else 0

    def close(self) -> None:
        if self._connecting:
            self._connecting.cancel()
        if self._session:
            self._session.close()

    async def exposition(self) -> bytes:
        """The metrics of all processes; without a core those of this one."""
        with contextlib.suppress(ServingError, ValueError):
            answer = await self.session().ask("metrics")
            return exposition.unpacked(answer.text).encode()
        return triton_metrics.text(self._metrics.registry)

    def session(self) -> Session:
        """The current one. Raises ServingError where there is none."""
        if self._session is None:
            raise core_is_gone()
        return self._session

    async def _stay_connected(self) -> None:
        while True:
            try:
                self._session = await Session.begin(self._name, self._on_news, self._mirror.clear)
            except (LinkError, OSError) as error:
                log.warning("no connection to the core: %s", error)
                await asyncio.sleep(_AGAIN_S)
                continue
            await self._session.ended.wait()
            self._session = None

    def _on_news(self, session: Session, message: m.ToFront) -> None:
        match message:
            case m.Catalogue():
                self._mirror.update(session, message)
            case m.Offer():
                preparing = asyncio.create_task(self._mirror.prepare(session, message))
                self._preparing.add(preparing)
                preparing.add_done_callback(self._preparing.discard)
            case m.Collect():
                session.send(m.Samples(message.request, exposition.packed(self._metrics.registry)))
            case _:
                raise LinkError(f"The core sent {type(message).__name__} amid a connection.")
