"""KeyCheck: lets only requests with a key through, before their body is read. Servers without keys have none."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import ServingError
from server.exchange import Exchange
from server.keys.access import Access
from server.rest.bodies import UnreadBody
from server.rest.client import client_of
from server.rest.docs.app import OPEN
from server.rest.envelope import exchange_of
from server.rest.error_handlers import ErrorHandlers
from server.rest.request_secret import secret_in

_OPEN_FOLDER = "/page/"
_METRICS, _V2 = "/metrics", "/v2"
_TAKE_IMAGES = ("/classify", "/explain")


class KeyCheck:
    """An ASGI application, before all routes. Every address that is not said to be open needs a key, also one that does
    not exist. Runs on the event loop.
    """

    def __init__(
        self, access: Access, metrics_need_key: bool, errors: ErrorHandlers, v2_errors: ErrorHandlers, app: ASGIApp
    ) -> None:
        """`v2_errors`: how the Open Inference Protocol has its errors."""
        self._access = access
        self._open = OPEN if metrics_need_key else OPEN | {_METRICS}
        self._errors = errors
        self._v2_errors = v2_errors
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            return await self._app(scope, receive, send)
        try:
            self._check(scope, exchange_of(scope))
        except ServingError as error:
            answer = await self._refused(scope, error)
            return await answer(scope, receive, send)
        return await self._app(scope, receive, send)

    async def _refused(self, scope: Scope, error: ServingError) -> Response:
        errors = self._v2_errors if f"{scope['path']}/".startswith(f"{_V2}/") else self._errors
        return await errors.response(Request(scope), error if client_of(scope).has_sent_all() else UnreadBody.of(error))

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(_OPEN_FOLDER)

    def _check(self, scope: Scope, exchange: Exchange) -> None:
        """Raises ServingError."""
        key = self._access.key_of(secret_in(scope))
        path = scope["path"]
        if path == _METRICS:
            self._access.check_metrics(key)
        if path in _TAKE_IMAGES or (path.startswith("/v2/") and path.endswith("/infer")):
            self._access.refuse_spent(key)
        exchange.key = key
