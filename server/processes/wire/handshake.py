"""Handshake: how a front and the core begin a connection, before it becomes a Link.

The front sends Hello with the descriptor of its region, the core answers Welcome. Neither reads more than that message:
what follows is left for the link. On any failure the socket is closed, and every descriptor that came through it.
"""

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from server.processes.wire.control_socket import check_peer
from server.processes.wire.errors import LinkError
from server.processes.wire.frames import Frames, frames_to_core, frames_to_front
from server.processes.wire.messages import PROTOCOL, Hello, Message, Welcome, encode
from server.processes.wire.region import Region

HELLO_LIMIT_S = 5.0
_MOST_FDS = 253  # the kernel's SCM_MAX_FD: with less room here, some could stay unseen

Received = TypeVar("Received")


async def greet(control: socket.socket, region: Region, limit_s: float | None = None) -> None:
    """The front's side, on a socket of `control_socket.connect`. Returns when the core has answered.

    `limit_s`: how long to wait; for ever by default, because the socket breaks if the core ends. Raises LinkError.
    """
    async with _closed_on_failure(control, "core", limit_s):
        _send(control, Hello(PROTOCOL, region.slots, region.slot_bytes), [region.fd])
        message, fds = await _first(control, frames_to_front())
        _close(fds)
        if not isinstance(message, Welcome):
            raise LinkError(f"The core began with {type(message).__name__} instead of Welcome.")
        _check_protocol(message.protocol)


async def welcome(control: socket.socket, limit_s: float = HELLO_LIMIT_S, uid: int | None = None) -> Region:
    """The core's side, on an accepted socket. Returns the front's region.

    `uid`: whose process the front must be; by default the user of this one. Raises LinkError.
    """
    async with _closed_on_failure(control, "front", limit_s):
        control.setblocking(False)
        check_peer(control, uid)
        message, fds = await _first(control, frames_to_core())
        region = _region(message, fds)
        try:
            _send(control, Welcome(PROTOCOL))
        except BaseException:
            region.close()
            raise
        return region


def _region(message: object, fds: list[int]) -> Region:
    """The region that a front's first message describes. It owns the descriptor; where this raises, all are closed."""
    try:
        if not isinstance(message, Hello):
            raise LinkError(f"The front began with {type(message).__name__} instead of Hello.")
        _check_protocol(message.protocol)
        if len(fds) != 1:
            raise LinkError(f"The front's Hello came with {len(fds)} descriptors instead of its region's.")
        return Region(fds.pop(), message.slots, message.slot_bytes)
    finally:
        _close(fds)


def _check_protocol(protocol: int) -> None:
    if protocol != PROTOCOL:
        raise LinkError(f"The peer speaks protocol {protocol}, this process {PROTOCOL}: restart the server.")


@contextlib.asynccontextmanager
async def _closed_on_failure(control: socket.socket, peer: str, limit_s: float | None) -> AsyncIterator[None]:
    """Limit the time, and have every failure be a LinkError. A cancelled handshake closes the socket too."""
    try:
        async with asyncio.timeout(limit_s):
            yield
    except BaseException as error:
        control.close()
        if isinstance(error, TimeoutError):
            raise LinkError(f"The {peer} did not answer within {limit_s} s.") from error
        if isinstance(error, OSError):
            raise LinkError(f"The connection to the {peer} broke: {error}.") from error
        raise


def _send(control: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send the first message of a connection, for which its buffer has room. Raises OSError."""
    frame = encode(message)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    if control.sendmsg([frame], rights) != len(frame):
        raise LinkError(f"{type(message).__name__} was not sent whole.")


async def _first(control: socket.socket, frames: Frames[Received]) -> tuple[Received, list[int]]:
    """The first message, and the descriptors that came with it, which are the caller's to close."""
    fds: list[int] = []
    try:
        while True:
            for message in frames.feed(await _receive(control, frames.missing_bytes, fds)):
                return message, fds
    except BaseException:
        _close(fds)
        raise


async def _receive(control: socket.socket, most_bytes: int, fds: list[int]) -> bytes:
    """What has come, one byte at least, and adds the descriptors to `fds`. Waits for it on the loop."""
    room = socket.CMSG_SPACE(_MOST_FDS * array.array("i").itemsize)
    while True:
        try:
            data, ancillary, _, _ = control.recvmsg(most_bytes, room, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(control)
            continue
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.extend(array.array("i", content))
        if not data:
            raise LinkError("The other side closed the connection before its first message.")
        return data


async def _readable(control: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(control, wake)
    try:
        await ready
    finally:
        loop.remove_reader(control)


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())
