"""RayRest: the REST face behind Ray's HTTP proxy, as an ASGI application of a replica."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.rest.client import Client
from server.rest.request_head import header

MODEL_ID = b"serve_multiplexed_model_id"
_TAKES_MODEL = frozenset({"/classify", "/explain"})  # routes with the query's `model`
_ENDS_IN_S = 1.0  # work whose client has left; then it is cancelled, wherever it is

Provide = Callable[[str], Awaitable[None]]
"""Loads the model of that name if it can; what cannot be loaded is the face's to answer."""


class RayRest:
    """Gives a request what the server's own HTTP connection would: a Client, who leaves when Ray cancels the request.

    On the replica's event loop for user code.
    """

    def __init__(self, app: ASGIApp, provide: Provide | None = None) -> None:
        """`provide`: for replicas that load models on demand."""
        self._app = app
        self._provide = provide

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        client = Client()
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # Ray's route_prefix
        scope = {**scope, "path": path, "root_path": "", "extensions": client.extensions}
        if self._provide:
            await self._provide_model(scope, self._provide)

        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":  # Ray's proxy adds the same request id
                message["headers"] = [each for each in message["headers"] if each[0] != b"x-request-id"]
            await send(message)

        work = asyncio.ensure_future(self._app(scope, receive, send_once))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            client.leave()
            _, pending = await asyncio.wait((work,), timeout=_ENDS_IN_S)
            if pending:
                work.cancel()
            raise

    async def _provide_model(self, scope: Scope, provide: Provide) -> None:
        """The model that the query or Ray's header names; the query wins, as over the fields of a JSON body."""
        named = parse_qs(scope["query_string"].decode("latin-1")).get("model", [""])[0]
        wanted = _model_id(scope)
        if wanted and not named and scope["path"] in _TAKES_MODEL:
            parts = [scope["query_string"], b"model=" + quote(wanted, safe="").encode()]
            scope["query_string"] = b"&".join(part for part in parts if part)
        if named or wanted:
            await provide(named or wanted)


def _model_id(scope: Scope) -> str:
    """The value of Ray's header, which some proxies write with hyphens."""
    return header(scope, MODEL_ID) or header(scope, MODEL_ID.replace(b"_", b"-")) or ""
