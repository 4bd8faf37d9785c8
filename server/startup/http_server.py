"""HttpServer: uvicorn, as this server needs it; HttpServers: that of REST, and that of the admin port."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from server.errors import Code
from server.network.certificates import Certificates
from server.rest.connections import Connections
from server.rest.handshake import TlsServer
from server.rest.protocol import factory
from server.startup.listeners import Listeners

_KEEP_ALIVE_S = 75  # longer than proxies keep a connection: otherwise they would send into one that is closing
_ADMIN_CONNECTIONS = 64
_KEEP_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""A front that ends must leave the file of a Unix socket to the others: whoever made it removes it."""


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: they end the process by the signal, and `App` owns the exit code."""

    def __init__(self, config: uvicorn.Config, connections: Connections, certificates: Certificates | None) -> None:
        super().__init__(config)
        self._all = connections
        self._certificates = certificates

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections: on TCP over TLS where there are certificates, on Unix sockets without."""
        self.servers: list[Any] = [await self._accept(listener) for listener in sockets or ()]
        self.started = True

    async def _accept(self, listener: socket.socket) -> asyncio.Server | TlsServer:
        loop, backlog, make = asyncio.get_running_loop(), self.config.backlog, self._maker()
        if listener.family == getattr(socket, "AF_UNIX", None):
            return await loop.create_unix_server(make, sock=listener, backlog=backlog, **_KEEP_FILE)
        if self._certificates:
            return TlsServer(listener, make, self._certificates, self._all)
        return await loop.create_server(make, sock=listener, backlog=backlog)

    def _maker(self) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of a connection."""
        make: Any = self.config.http_protocol_class
        return partial(make, self.config, self.server_state, self.lifespan.state)


class HttpServers:
    """They begin and end together. On the event loop."""

    def __init__(
        self,
        app: ASGIApp,
        connections: Connections,
        admin_app: ASGIApp | None,
        certificates: Certificates | None,
        count: Callable[[Code], object],
        drain_limit_s: int,
    ) -> None:
        """`connections`: those of REST, counted and limited. `count` gets the error code of each refused one of the
        admin port.
        """
        self._main = http_server(app, connections, drain_limit_s, certificates)
        own = Connections(_ADMIN_CONNECTIONS, count)
        self._admin = http_server(admin_app, own, drain_limit_s, certificates) if admin_app else None

    async def serve(self, listeners: Listeners) -> None:
        """Returns when `leave` was called and all connections are closed."""
        serving = [self._main.serve(listeners.of_rest())]
        if self._admin and listeners.admin:
            serving.append(self._admin.serve([listeners.admin]))
        await asyncio.gather(*serving)

    def leave(self) -> None:
        """Accept no more connections."""
        for server in self._all():
            server.should_exit = True

    def cut(self) -> None:
        """Close what is still open."""
        for server in self._all():
            server.force_exit = True

    def _all(self) -> Sequence[HttpServer]:
        return [self._main, self._admin] if self._admin else [self._main]


def http_server(
    app: ASGIApp, connections: Connections, drain_limit_s: int, certificates: Certificates | None = None
) -> HttpServer:
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
    return HttpServer(config, connections, certificates)
