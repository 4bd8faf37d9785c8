"""Handshake: a connection of HTTP over TLS, from its accept to the end of its TLS handshake."""

import asyncio
import logging
from collections.abc import Callable

from server.errors import Code
from server.network.certificates import Certificates
from server.rest.connections import Connections

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
"""A client that does not finish its handshake in this time is disconnected."""

_SHUTDOWN_S = 5.0
"""A client that does not answer the end of TLS is disconnected after this time."""


class Handshake(asyncio.Protocol):
    """asyncio's own servers make the protocol of a connection known only after its handshake. A client that never
    finishes one would then count for no limit. So this class accepts, counts, shakes hands with the newest certificate,
    and hands the connection over to the protocol of HTTP. All of it runs on the event loop.
    """

    transport: asyncio.Transport

    def __init__(
        self, make: Callable[[], asyncio.Protocol], certificates: Certificates, connections: Connections
    ) -> None:
        """`make` makes the protocol of HTTP."""
        self._make = make
        self._certificates = certificates
        self._all = connections
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._all.is_full() and not self._all.make_room():
            self._all.count(Code.QUEUE_FULL)
            return transport.abort()  # an answer would need a handshake
        self._all.opened(self)
        transport.pause_reading()  # until TLS reads
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(transport))
        return None

    def close_after_answer(self) -> None:
        """There is no answer yet: the protocol of HTTP will be told."""

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        early, tls = _Early(), None
        context = self._certificates.newest.context
        try:
            tls = await asyncio.get_running_loop().start_tls(
                transport,
                early,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except OSError as error:  # SSLError is one too
            log.debug("a TLS handshake failed: %s", error)
        finally:
            self._all.closed(self)
        if tls is None or early.lost:
            return transport.abort()
        protocol = self._make()
        protocol.connection_made(tls)
        tls.set_protocol(protocol)
        if early.data and not tls.is_closing():
            protocol.data_received(bytes(early.data))
        return None


class _Early(asyncio.Protocol):
    """Keeps what comes after the handshake until the protocol of HTTP is there, which is in the loop's next turn."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
