"""Forwarded: the address and the scheme of the client, where a trusted proxy names them. Pure ASGI."""

from starlette.types import ASGIApp, Receive, Scope, Send

from server.network.proxies import Proxies

_SCHEMES = (b"http", b"https")


class Forwarded:
    """Sets `scope["client"]` and `scope["scheme"]`. A port is not known then, and is 0."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope["client"][0] if scope.get("client") else None
        if scope["type"] == "http" and self._proxies.trusts(peer):
            self._believe(scope, peer)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope, peer: str | None) -> None:
        forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        address = self._proxies.client(peer, forwarded)
        if address is not None and address != peer:
            scope["client"] = (address, 0)
        for name, value in scope["headers"]:
            if name == b"x-forwarded-proto":  # the nearest proxy's is the last one
                scheme = value.rpartition(b",")[2].strip().lower()
                if scheme in _SCHEMES:
                    scope["scheme"] = scheme.decode()
