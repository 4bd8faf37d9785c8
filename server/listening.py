"""Listening: the socket that REST listens on, and the uvicorn server that answers there."""

import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from server.rest.connections import Connections
from server.rest.protocol import factory

_BACKLOG = 2048  # uvicorn's own default
_KEEP_ALIVE_S = 75  # longer than proxies keep a connection: otherwise they would send into one that is closing


class CannotListen(Exception):
    """The address is not known or the port is taken. The message says what to change."""


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: they end the process by the signal, and `App` owns the exit code."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_server(app: ASGIApp, connections: Connections, drain_limit_s: int) -> HttpServer:
    """A server for `app` that counts and limits its connections in `connections`."""
    config = uvicorn.Config(
        app,
        http=factory(connections),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_limit_s,
    )
    return HttpServer(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; on `::` it accepts IPv4 too. Raises CannotListen.

    uvicorn can open its own socket, but it ends the process where the port is taken.
    """
    try:
        families = {found[0] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except socket.gaierror as error:
        raise CannotListen(f"The address {host} is not known ({error.strerror}): choose another --host") from error
    except OSError as error:
        cure = "another port with --http-port" if error.errno == errno.EADDRINUSE else "another --host or --http-port"
        where = f"{bracketed(host)}:{port}"
        raise CannotListen(f"HTTP cannot listen on {where} ({error.strerror}): choose {cure}") from error


def bracketed(host: str) -> str:
    """The host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host
