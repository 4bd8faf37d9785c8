"""HttpServer: uvicorn, as this server needs it."""

import contextlib
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from server.rest.connections import Connections
from server.rest.protocol import factory

_KEEP_ALIVE_S = 75  # longer than proxies keep a connection: otherwise they would send into one that is closing


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
