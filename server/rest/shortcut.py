"""Shortcut and Under: which application a request goes to, before FastAPI sees it."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Shortcut:
    """Requests of one method and path go to `route`, without what FastAPI does around a route; all others to `app`.

    FastAPI has the route too: it documents it, and rejects other methods.
    """

    def __init__(self, method: str, path: str, route: ASGIApp, app: ASGIApp) -> None:
        self._method = method
        self._path = path
        self._route = route
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        short = scope["type"] == "http" and scope["method"] == self._method and scope["path"] == self._path
        await (self._route if short else self._app)(scope, receive, send)


class Under:
    """Requests whose path is `prefix`, or begins with it and a slash, go to `inner`, all others to `app`."""

    def __init__(self, prefix: str, inner: ASGIApp, app: ASGIApp) -> None:
        self._prefix = prefix
        self._inner = inner
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        under = scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._prefix}/")
        await (self._inner if under else self._app)(scope, receive, send)
