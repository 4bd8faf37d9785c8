"""ErrorHandlers: turn whatever a route raises into an answer, and count it."""

import logging

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from server.errors import Code, ServingError, internal
from server.metrics import GONE, FaceMetrics
from server.rest.bodies import UnreadBody
from server.rest.envelope import exchange_of
from server.rest.problems import CLIENT_GONE, ClosingResponse, ErrorResponse
from server.service import Classifier

log = logging.getLogger(__name__)

_DISCARD_S, _DISCARD_WHEN_DRAINING_S = 5.0, 0.5
"""The rest of a rejected body is read and discarded for so long, so that its sender sees the answer."""


class ErrorHandlers:
    """All on the event loop. starlette itself logs an exception that is a bug."""

    def __init__(self, classifier: Classifier, metrics: FaceMetrics, shape: type[ErrorResponse]) -> None:
        """`shape`: how an error is written."""
        self._classifier = classifier
        self._metrics = metrics
        self._shape = shape

    def install(self, app: Starlette) -> None:
        app.add_exception_handler(ServingError, self.serving_error)  # type: ignore[arg-type]
        app.add_exception_handler(RequestValidationError, self._invalid)  # type: ignore[arg-type]
        app.add_exception_handler(HTTPException, self._no_route)  # type: ignore[arg-type]
        app.add_exception_handler(ClientDisconnect, self._client_gone)
        app.add_exception_handler(Exception, self._bug)

    async def response(self, request: Request, error: Exception) -> Response:
        """The answer where FastAPI is not there to choose the handler."""
        if isinstance(error, ServingError):
            return await self.serving_error(request, error)
        if isinstance(error, ClientDisconnect):
            return await self._client_gone(request, error)
        log.error("a request failed; this is a bug", exc_info=error)
        return await self._bug(request, error)

    async def serving_error(self, request: Request, error: ServingError) -> Response:
        self._metrics.ended(error.code)
        exchange_of(request.scope).code = error.code
        if not isinstance(error, UnreadBody):
            return self._shape(error)
        discard_s = _DISCARD_WHEN_DRAINING_S if self._classifier.draining() else _DISCARD_S
        return ClosingResponse(self._shape(error), discard_s)

    async def _invalid(self, request: Request, error: RequestValidationError) -> Response:
        return await self.serving_error(request, ServingError(Code.MALFORMED, str(error.errors()[0]["msg"])))

    async def _no_route(self, request: Request, error: HTTPException) -> Response:
        exchange_of(request.scope).code = Code.METHOD_NOT_ALLOWED if error.status_code == 405 else Code.UNKNOWN_PATH
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method").replace("GET", "GET, HEAD")
            return self._shape(ServingError(Code.METHOD_NOT_ALLOWED, f"Use {allowed} here."), {"Allow": allowed})
        return self._shape(ServingError(Code.UNKNOWN_PATH, "There is nothing at this address: see /docs."))

    async def _client_gone(self, request: Request, error: Exception) -> Response:
        self._metrics.ended(GONE)
        exchange_of(request.scope).code = GONE
        return Response(status_code=CLIENT_GONE)

    async def _bug(self, request: Request, error: Exception) -> Response:
        self._metrics.ended(Code.INTERNAL)
        exchange_of(request.scope).code = Code.INTERNAL
        return self._shape(internal())
