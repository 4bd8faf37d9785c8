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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Code, ServingError
from server.health import Health
from server.metrics import Metrics
from server.receiving import Receipt, ReceiveBudget
from server.repository import Repository
from server.rest import schema
from server.rest.admin import AdminFace
from server.rest.answers import aliases, answers, described, state
from server.rest.bodies import Body, Unread, read_body
from server.rest.envelope import Envelope
from server.rest.problems import CALLER_GONE, LastProblem, Problem
from server.service import Answer, Classified, Classifier, Wish
from server.threads import Threads
from server.waiting import Caller, Priority

log = logging.getLogger(__name__)
T = TypeVar("T")

_ROWS_AT_ONCE = 1000
"""Predictions in an answer; a larger one is written in a thread."""

_DISCARDED_S, _DISCARDED_WHEN_LEAVING_S = 5.0, 0.5
"""So long the rest of a refused body is read and thrown away, so that its sender sees the answer."""

_MOST_DIGITS = 9


class RestFace:
    """One ASGI application over the service; `app` is what the HTTP server runs."""

    def __init__(
        self,
        classifier: Classifier,
        repository: Repository,
        health: Health,
        metrics: Metrics,
        budget: ReceiveBudget,
        aside: Threads,
        version: str,
        admin: AdminFace | None,
    ) -> None:
        """`aside` is where large bodies are taken apart, and large answers written."""
        self._classifier = classifier
        self._repository = repository
        self._health = health
        self._metrics = metrics
        self._budget = budget
        self._aside = aside
        self._receiving: set[asyncio.Timeout] = set()
        self.app: ASGIApp = Envelope(_HeadAsGet(self._application(version, admin)))

    def _application(self, version: str, admin: AdminFace | None) -> FastAPI:
        # a redirect would lead to wherever the Host header says
        app = FastAPI(title="Sesame", version=version, description=schema.DESCRIPTION, redirect_slashes=False)
        app.add_api_route("/classify", self.classify, methods=["POST"], **schema.CLASSIFY)
        app.add_api_route("/models", self.models, **schema.MODELS)
        app.add_api_route("/models/{name}", self.model, **schema.MODEL)
        app.add_api_route("/models/{name}/labels", self.labels, **schema.LABELS)
        app.add_api_route("/models/{name}/ready", self.model_ready, **schema.MODEL_READY)
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
        try:
            return await self._classify(request)
        except ServingError as error:  # not by the exception handler: it would hold the photo while the answer is sent
            return await self._serving_error(request, error)

    async def _classify(self, request: Request) -> Response:
        with Receipt(self._budget) as receipt:
            began_s = time.monotonic()
            deadline_s = self._deadline_s(request)
            body = await self._body(request, deadline_s, receipt)
            received_s = time.monotonic()
            given = {name: value for name, value in body.fields.items() if value is not None}
            wish = _wish({**given, **request.query_params}, deadline_s)
            classified = await _unless_gone(request, self._classifier.classify(body.photos, wish))
        classified.ready.metrics.took("receive", received_s - began_s)
        if sum(map(_rows, classified.outcomes)) > _ROWS_AT_ONCE:
            return await self._aside.run(self._reply, classified, body.many)
        return self._reply(classified, body.many)

    def end_receiving(self) -> None:
        """Refuse the bodies that are still being received: this server is going away."""
        now_s = asyncio.get_running_loop().time()
        for patience in self._receiving:
            patience.reschedule(now_s)

    def _reply(self, classified: Classified, many: bool) -> Response:
        return _Reply(classified, answers(classified, many), self._metrics)

    def _deadline_s(self, request: Request) -> float:
        text = request.headers.get("x-request-timeout-ms")
        if text is None:
            return self._classifier.deadline_s(None)
        most_ms = int(self._classifier.limits.max_timeout_s * 1e3)
        digits = text.isascii() and text.isdecimal() and len(text) < 10
        if not digits or not 1 <= int(text) <= most_ms:
            raise Unread(Code.MALFORMED, f"X-Request-Timeout-Ms must be a whole number from 1 to {most_ms}.")
        return self._classifier.deadline_s(int(text) / 1e3)

    async def _body(self, request: Request, deadline_s: float, receipt: Receipt) -> Body:
        self._refuse_if_draining()
        try:
            async with asyncio.timeout_at(deadline_s) as patience:
                self._receiving.add(patience)
                try:
                    return await read_body(request, self._classifier.limits, receipt, self._aside.run)
                finally:
                    self._receiving.remove(patience)
        except TimeoutError:
            self._refuse_if_draining()
            raise Unread(Code.SLOW_BODY, "The body came too slowly: send it within the request's time.") from None

    def _refuse_if_draining(self) -> None:
        if error := self._classifier.draining():
            raise Unread.of(error)

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

    async def model_ready(self, name: str, version: str = "") -> Response:
        """Whether requests for this model or alias should be sent here."""
        entries = self._repository.meant(name, version)
        ready = self._health.ready_for(entries)
        return JSONResponse({"ready": ready, "models": [state(entry) for entry in entries]}, 200 if ready else 503)

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
        if not isinstance(error, Unread):
            return Problem(error)
        return LastProblem(error, _DISCARDED_WHEN_LEAVING_S if self._classifier.draining() else _DISCARDED_S)

    async def _invalid(self, request: Request, error: RequestValidationError) -> Response:
        return await self._serving_error(request, ServingError(Code.MALFORMED, str(error.errors()[0]["msg"])))

    async def _no_route(self, request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method").replace("GET", "GET, HEAD")
            return Problem(ServingError(Code.METHOD, f"Use {allowed} here."), {"Allow": allowed})
        return Problem(ServingError(Code.UNKNOWN_PATH, "There is nothing at this address: see /docs."))

    async def _gone(self, request: Request, error: Exception) -> Response:
        self._metrics.requests.labels("rest", "gone").inc()
        return Response(status_code=CALLER_GONE)

    async def _bug(self, request: Request, error: Exception) -> Response:
        self._metrics.requests.labels("rest", Code.INTERNAL.value).inc()
        return Problem(ServingError(Code.INTERNAL, "The server made a mistake; its log has the details."))


class _HeadAsGet:
    """Answers HEAD on every route as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self._app(scope, receive, send)

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        return await self._app({**scope, "method": "GET"}, receive, send_head)


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


def _rows(outcome: Answer | ServingError) -> int:
    return 0 if isinstance(outcome, ServingError) else len(outcome.predictions)


def _wish(wanted: dict[str, Any], deadline_s: float) -> Wish:
    return Wish(
        deadline_s,
        Caller(_priority(wanted)),
        model=_text(wanted, "model"),
        version=_text(wanted, "version"),
        top_k=_whole_number(wanted, "top_k"),
    )


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
        digits = value.lstrip("0")
        if len(digits) > _MOST_DIGITS:
            raise ServingError(Code.MALFORMED, f"{name} must be a whole number of at most {_MOST_DIGITS} digits.")
        return int(digits or "0")
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ServingError(Code.MALFORMED, f"{name} must be a whole number.")
    return value
