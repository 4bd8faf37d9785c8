"""Link: one connected control socket between a front and the core, on either side of it."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from server.processes.wire.errors import LinkError
from server.processes.wire.frames import Frames
from server.processes.wire.messages import Message, encode

log = logging.getLogger(__name__)

WAITING_BYTES = 8 << 20
"""A peer that lets more than this wait does not read any more: 100 000 images' messages."""

_CLOSING_S = 1.0  # for a peer to read what was sent before `close`

Sent = TypeVar("Sent", bound=Message)
Received = TypeVar("Received")


class Link(asyncio.Protocol, Generic[Sent, Received]):
    """Sends messages, and calls back for those that come. All of it runs on the event loop.

    What the peer does wrong ends this link alone.
    """

    def __init__(
        self, frames: Frames[Received], on_message: Callable[[Received], None], on_lost: Callable[[str], None]
    ) -> None:
        """`on_message` may raise LinkError, which ends the link, for a message that is out of order; any other
        exception is a bug, which is logged and ends the link too. `on_lost` is called once, with the reason, when the
        link has ended for whatever reason; `on_message` is not called after it.
        """
        self._frames = frames
        self._on_message = on_message
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._outbox: list[bytes] = []
        self._reason = ""  # why it ends; empty while it does not
        self._closing: asyncio.TimerHandle | None = None

    async def start(self, control: socket.socket) -> None:
        """Take over a connected socket, after the handshake."""
        await self._loop.create_unix_connection(lambda: self, sock=control)

    def send(self, message: Sent) -> None:
        """Send with all else that is sent in this turn of the loop. Nothing is sent where the link has ended.

        Raises ValueError as `encode` does.
        """
        if self._reason:
            return
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(encode(message))

    def close(self) -> None:
        """Send what waits, and end the link. A peer that does not read is left after a second."""
        if self._reason:
            return
        self._flush()
        if self._reason or not self._transport:
            return
        self._reason = "This side closed the connection."
        self._transport.close()
        self._closing = self._loop.call_later(_CLOSING_S, self._transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of a class of its own
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                if self._reason:  # the receiver has closed the link
                    return
                self._on_message(message)
        except LinkError as error:
            self._end(str(error))
        except Exception:
            log.exception("a message between processes was not handled: this is a bug, and ends the connection")
            self._end("A message was not handled; the log has the details.")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closing:
            self._closing.cancel()
        self._outbox.clear()
        self._reason = self._reason or self._why_lost(exc)
        self._on_lost(self._reason)

    def _why_lost(self, exc: Exception | None) -> str:
        if exc:
            return f"The connection broke: {exc}."
        return "The other side ended amid a message." if self._frames.torn else "The other side closed the connection."

    def _flush(self) -> None:
        """Write all messages at once."""
        if not (self._transport and self._outbox):
            return
        waiting_bytes = self._transport.get_write_buffer_size()
        if waiting_bytes > WAITING_BYTES:
            self._end(f"The other side does not read: {waiting_bytes} bytes wait for it.")
        else:
            self._transport.write(b"".join(self._outbox))
        self._outbox.clear()

    def _end(self, reason: str) -> None:
        """Drop the connection with all that waits in it."""
        if self._transport and not self._reason:
            self._reason = reason
            self._outbox.clear()
            self._transport.abort()
