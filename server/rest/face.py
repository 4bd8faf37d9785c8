"""RestFace: the routes. Translates requests into calls of the service and its answers into JSON; decides nothing."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import Code, ServingError
from server.health import Health
from server.metrics import Metrics
from server.repository import Repository
from server.rest import schema
from server.rest.admin import AdminFace
from server.rest.answers import aliases, answers, described, state
from server.rest.bodies import Body, read_body
from server.rest.envelope import Envelope
from server.rest.problems import CALLER_GONE, LastProblem, Problem
from server.service import Classified, Classifier, Wish
from server.waiting import Caller, Priority

log = logging.getLogger(__name__)
T = TypeVar("T")

_MAX_TIMEOUT_MS = 60_000


class RestFace:
    """One ASGI application over the service; `app` is what the HTTP server runs."""

    def __init__(
        self,
        classifier: Classifier,
        repository: Repository,
        health: Health,
        metrics: Metrics,
        default_timeout_ms: int,
        version: str,
        admin: AdminFace | None,
    ) -> None:
        self._classifier = classifier
        self._repository = repository
        self._health = health
        self._metrics = metrics
        self._default_timeout_ms = default_timeout_ms
        self.app: ASGIApp = Envelope(self._application(version, admin))

    def _application(self, version: str, admin: AdminFace | None) -> FastAPI:
        app = FastAPI(title="Sesame", version=version, description=schema.DESCRIPTION)
        app.add_api_route("/classify", self.classify, methods=["POST"], **schema.CLASSIFY)
        app.add_api_route("/models", self.models, **schema.MODELS)
        app.add_api_route("/models/{name}", self.model, **schema.MODEL)
        app.add_api_route("/models/{name}/labels", self.labels, **schema.LABELS)
        app.add_api_route("/livez", self.live, **schema.LIVE)
        app.add_api_route("/readyz", self.ready, **schema.READY)
        app.add_api_route("/metrics", self.metrics, **schema.METRICS)
        app.add_api_route("/", self.home, include_in_schema=False)
        if admin:
            app.include_router(admin.router)
        app.add_exception_handler(ServingError, self._serving_error)  # type: ignore[arg-type]
        app.add_exception_handler(RequestValidationError, self._invalid)  # type: ignore[arg-type]
        app.add_exception_handler(HTTPException, self._no_route)  # type: ignore[arg-type]
        app.add_exception_handler(ClientDisconnect, self._gone)
        app.add_exception_handler(Exception, self._bug)
        return app

    async def classify(self, request: Request) -> Response:
        """Classify one photo, or several."""
        began_s = asyncio.get_running_loop().time()
        deadline_s = began_s + self._timeout_ms(request) / 1e3
        body = await self._body(request, deadline_s)
        received_s = asyncio.get_running_loop().time()
        wanted = {**body.fields, **request.query_params}
        wish = Wish(
            deadline_s,
            Caller(_priority(wanted)),
            model=_text(wanted, "model"),
            version=_text(wanted, "version"),
            top_k=_whole_number(wanted, "top_k"),
        )
        classified = await _unless_gone(request, self._classifier.classify(body.photos, wish))
        classified.ready.metrics.took("receive", received_s - began_s)
        return _Reply(classified, answers(classified, body.many), self._metrics)

    def _timeout_ms(self, request: Request) -> int:
        text = request.headers.get("x-request-timeout-ms")
        if text is None:
            return self._default_timeout_ms
        digits = text.isascii() and text.isdecimal() and len(text) < 10
        if not digits or not 1 <= int(text) <= _MAX_TIMEOUT_MS:
            raise ServingError(
                Code.MALFORMED, f"X-Request-Timeout-Ms must be a whole number from 1 to {_MAX_TIMEOUT_MS}."
            )
        return int(text)

    async def _body(self, request: Request, deadline_s: float) -> Body:
        try:
            async with asyncio.timeout_at(deadline_s):
                return await read_body(request, self._classifier.limits)
        except TimeoutError:
            raise ServingError(Code.SLOW_BODY, "The body came too slowly: send it within the request's time.") from None

    async def models(self) -> Response:
        """Every model version with its state, input, engine and parity."""
        models = [described(entry) for entry in self._repository.entries()]
        return JSONResponse({"models": models, "aliases": aliases(self._repository)})

    async def model(self, name: str) -> Response:
        """The versions of one model."""
        return JSONResponse({"models": [described(entry) for entry in self._repository.versions(name)]})

    async def labels(self, name: str, version: str = "") -> Response:
        """The labels of a model version, in output order."""
        bundle = self._repository.pick(name, version).loaded.bundle
        rows = [{"index": i, "id": label.id, "label": label.name} for i, label in enumerate(bundle.labels)]
        return JSONResponse({"model": bundle.manifest.name, "version": bundle.manifest.version, "labels": rows})

    async def live(self) -> Response:
        """Whether the process works; when not, it should be started again."""
        return JSONResponse({"live": self._health.alive}, 200 if self._health.alive else 500)

    async def ready(self) -> Response:
        """Whether new requests should be sent here."""
        models = [state(entry) for entry in self._repository.entries()]
        return JSONResponse({"phase": self._health.phase, "models": models}, 200 if self._health.ready else 503)

    async def metrics(self) -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def home(self) -> Response:
        return RedirectResponse("/docs")

    async def _serving_error(self, request: Request, error: ServingError) -> Response:
        self._metrics.requests.labels("rest", error.code.value).inc()
        unread = error.code in (Code.TOO_LARGE, Code.SLOW_BODY)
        return LastProblem(error) if unread else Problem(error)

    async def _invalid(self, request: Request, error: RequestValidationError) -> Response:
        return await self._serving_error(request, ServingError(Code.MALFORMED, str(error.errors()[0]["msg"])))

    async def _no_route(self, request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return Problem(ServingError(Code.METHOD, f"Use {allowed} here."), dict(error.headers or {}))
        return Problem(ServingError(Code.UNKNOWN_PATH, "There is nothing at this address: see /docs."))

    async def _gone(self, request: Request, error: Exception) -> Response:
        self._metrics.requests.labels("rest", "gone").inc()
        return Response(status_code=CALLER_GONE)

    async def _bug(self, request: Request, error: Exception) -> Response:
        self._metrics.requests.labels("rest", Code.INTERNAL.value).inc()
        return Problem(ServingError(Code.INTERNAL, "The server made a mistake; its log has the details."))


class _Reply(JSONResponse):
    """An answer that is counted, and timed, when it was sent."""

    def __init__(self, classified: Classified, answer: dict[str, Any], metrics: Metrics) -> None:
        self._began_s = time.monotonic()
        self._classified = classified
        self._requests = metrics.requests
        super().__init__(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        self._classified.ready.metrics.took("respond", time.monotonic() - self._began_s)
        self._requests.labels("rest", "ok").inc()


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; cancels it and raises ClientDisconnect when the caller leaves first.

    The HTTP server does not cancel handlers by itself. The body has been read, so all that `receive` can still bring is
    the end of the connection.
    """
    doing = asyncio.create_task(work)
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()


def _text(wanted: dict[str, Any], name: str) -> str:
    value = wanted.get(name, "")
    if not isinstance(value, str):
        raise ServingError(Code.MALFORMED, f"{name} must be a text.")
    return value


def _priority(wanted: dict[str, Any]) -> Priority:
    text = _text(wanted, "priority")
    if text and text not in set(Priority):
        raise ServingError(Code.MALFORMED, f"priority must be {' or '.join(Priority)}.")
    return Priority(text or Priority.INTERACTIVE)


def _whole_number(wanted: dict[str, Any], name: str) -> int | None:
    value = wanted.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value[:9])
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ServingError(Code.MALFORMED, f"{name} must be a whole number.")
    return value
