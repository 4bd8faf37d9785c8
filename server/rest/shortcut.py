"""Shortcut: the one route that every photo takes, without what FastAPI does around a route.

FastAPI has the route too: it documents it, and rejects other methods.
"""

from starlette.types import ASGIApp, Receive, Scope, Send


class Shortcut:
    """Requests of one method and path go to `route`, all others to `app`."""

    def __init__(self, method: str, path: str, route: ASGIApp, app: ASGIApp) -> None:
        self._method = method
        self._path = path
        self._route = route
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        short = scope["type"] == "http" and scope["method"] == self._method and scope["path"] == self._path
        await (self._route if short else self._app)(scope, receive, send)
