"""Listening: the socket that REST listens on, and the one that keeps gRPC's port for this server."""

import contextlib
import errno
import socket

BACKLOG = 2048  # uvicorn's own default


class CannotListen(Exception):
    """The address is not known or the port is taken. The message says what to change."""


def listen(host: str, port: int, option: str = "--http-port") -> socket.socket:
    """A listening TCP socket; on `::` it accepts IPv4 too. `option` sets its port. Raises CannotListen.

    uvicorn can open its own socket, but it ends the process where the port is taken. Processes that inherit this
    socket share its connections: each goes to the one that accepts it.
    """
    return _open(host, port, "HTTP", option)


def reserve_grpc_port(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen, and keeps the port for this user's gRPC servers with `grpc.so_reuseport`.

    Port 0 takes a free one. Nobody else can take the port while the socket is open, nor a second guard. Whoever else
    runs as this user and sets SO_REUSEPORT can: Linux has no narrower limit. Raises CannotListen.
    """
    with _open(host, port, "gRPC", "--grpc-port") as proof:  # only as a listener is it compared with everybody
        proof.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # from now on the guard may be beside it
        guard = socket.socket(proof.family)
        with contextlib.ExitStack() as undo:
            undo.callback(guard.close)
            guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # beside closed connections of a past server
            if proof.family == socket.AF_INET6:
                only = proof.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                guard.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            guard.bind(proof.getsockname())
            guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # but not beside others that set it
            undo.pop_all()
    return guard


def _open(host: str, port: int, protocol: str, option: str) -> socket.socket:
    try:
        families = {found[0] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except socket.gaierror as error:
        raise CannotListen(f"The address {host} is not known ({error.strerror}): choose another --host") from error
    except OSError as error:
        cure = f"another port with {option}" if error.errno == errno.EADDRINUSE else f"another --host or {option}"
        where = f"{bracketed(host)}:{port}"
        raise CannotListen(f"{protocol} cannot listen on {where} ({error.strerror}): choose {cure}") from error


def bracketed(host: str) -> str:
    """The host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host
