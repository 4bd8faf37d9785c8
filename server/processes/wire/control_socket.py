"""Control socket: the Unix socket at which the core accepts its fronts.

Its name is in the abstract namespace (unix(7)): it has no file, and is gone when the last process that holds the
listening socket ends. Abstract names have no permissions, so the core checks who connects.
"""

import os
import secrets
import socket
import struct

from server.processes.wire.errors import LinkError

_BACKLOG = 1024  # fronts that wait until a new core accepts
_UCRED = struct.Struct("=iII")  # struct ucred of unix(7): pid, uid, gid


def listen() -> tuple[socket.socket, str]:
    """A listening socket, non-blocking, and its random name of 128 bits. The parent holds it, so that fronts can
    connect while there is no core.
    """
    name = f"sesame-{secrets.token_hex(16)}"
    listening = _socket()
    listening.bind(_address(name))
    listening.listen(_BACKLOG)
    return listening, name


def connect(name: str) -> socket.socket:
    """A connected socket, non-blocking; the core may not have accepted it yet. Raises LinkError.

    It never waits: the kernel connects a Unix socket at once, or refuses.
    """
    control = _socket()
    try:
        control.connect(_address(name))
    except BlockingIOError as error:
        control.close()
        raise LinkError(f"{_BACKLOG} connections wait for the core already.") from error
    except OSError as error:
        control.close()
        raise LinkError(f"The control socket does not answer ({error.strerror}): the parent is gone.") from error
    return control


def check_peer(control: socket.socket, uid: int | None = None) -> None:
    """Raises LinkError where the peer's user is not `uid`, by default this process's."""
    wanted = os.geteuid() if uid is None else uid
    _, found, _ = _UCRED.unpack(control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if found != wanted:
        raise LinkError(f"The peer's user is {found}, not {wanted}.")


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def _address(name: str) -> str:
    return f"\0{name}"
