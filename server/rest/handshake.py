"""Handshake: a connection of HTTP over TLS until its handshake has ended; TlsServer: those of one listener."""

import asyncio
import logging
import socket
from collections.abc import Callable

from server.errors import Code
from server.network.certificates import Certificates
from server.rest.connections import Connections

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
"""A client that does not finish its handshake in this time is disconnected."""

_SHUTDOWN_S = 5.0
"""A client that does not answer the end of TLS is disconnected after this time."""

_ACCEPTS = 64  # at most, before other events have their turn
_PAUSE_S = 1.0  # after an accept has failed, as where too many files are open

Make = Callable[[], asyncio.Protocol]
"""Makes the protocol of HTTP for a connection."""


class Handshake:
    """One of `Connections` until the protocol of HTTP takes its place."""

    def __init__(self, accepted: socket.socket, all: Connections) -> None:
        self._accepted = accepted
        self._all = all
        self._begun = False
        self._task: asyncio.Task[None] | None = None

    @property
    def transport(self) -> "Handshake":
        """What is closed where another connection needs the room."""
        return self

    def begin(self, make: Make, certificates: Certificates) -> None:
        self._all.opened(self)
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(make, certificates))
        self._task.add_done_callback(self._end)

    def close(self) -> None:
        if self._task:
            self._task.cancel()

    def close_after_answer(self) -> None:
        """There is no answer yet: the protocol of HTTP will be told."""

    async def _shake_hands(self, make: Make, certificates: Certificates) -> None:
        self._begun = True
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                make,
                self._accepted,
                ssl=certificates.newest.context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except OSError as error:  # SSLError is one too
            log.debug("a TLS handshake failed: %s", error)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._all.closed(self)
        if not self._begun:  # else the socket is its transport's
            self._accepted.close()
        if not task.cancelled():
            task.result()


class TlsServer:
    """Accepts the connections of one listener, on the event loop.

    asyncio's own servers make the protocol of a connection known only after its handshake. A client that never finishes
    one would then count for no limit. They also keep the certificate that they had at the start.
    """

    def __init__(self, listener: socket.socket, make: Make, certificates: Certificates, all: Connections) -> None:
        self._listener = listener
        self._make = make
        self._certificates = certificates
        self._all = all
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._go_on()

    def close(self) -> None:
        """Accept no more. The listener itself stays open, for whoever has it."""
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Nothing is left to wait for: handshakes end by themselves."""

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no connection can be accepted for a moment: %s", error)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_S, self._go_on)
                return
            self._begin(accepted)

    def _begin(self, accepted: socket.socket) -> None:
        if self._all.is_full() and not self._all.make_room():
            self._all.count(Code.QUEUE_FULL)
            accepted.close()  # an answer would need a handshake
            return
        accepted.setblocking(False)
        Handshake(accepted, self._all).begin(self._make, self._certificates)
