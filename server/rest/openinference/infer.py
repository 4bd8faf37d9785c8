"""InferRoute: one `POST /v2/models/…/infer`, from its body to its answer. Runs on the event loop."""

import re
import time

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import Code, ServingError
from server.openinference.inference import Inference
from server.openinference.request import InferResponse
from server.receiving import Receipt
from server.rest.bodies import UnreadBody, read_chunks
from server.rest.client import CancelledIfGone
from server.rest.counted import Counted
from server.rest.envelope import exchange_of
from server.rest.intake import Intake
from server.rest.openinference import compression
from server.rest.openinference.answers import JSON_BYTES, infer_response
from server.rest.openinference.body import Parsed, parse
from server.rest.request_head import header
from server.scheduling.fair_queue import Caller

_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_ROUTE = "/v2/models/{name}/infer"
_JSON_BYTES = JSON_BYTES.lower().encode()
_ON_LOOP_BYTES = 1 << 20  # a larger body is parsed in a thread
_ON_LOOP_VALUES = 4000  # an answer of more is written in a thread


class InferRoute:
    """An ASGI application, without what a framework does around a route: every image passes here."""

    def __init__(self, inference: Inference, intake: Intake) -> None:
        self._inference = inference
        self._intake = intake

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Whether this is its request."""
        return scope["method"] == "POST" and _PATH.fullmatch(scope["path"]) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer: ASGIApp
        try:
            answer = await self._infer(request)
        except Exception as error:  # here: one that goes further holds the images while the answer is sent
            answer = await self._intake.errors.response(request, error)
        await answer(scope, receive, send)

    async def _infer(self, request: Request) -> ASGIApp:
        with Receipt(self._intake.budget) as receipt:
            began_s = time.monotonic()
            exchange = exchange_of(request.scope)
            exchange.route = _ROUTE
            deadline_s = self._intake.receiver.deadline_s(request)
            parsed = await self._intake.receiver.receive(request, deadline_s, lambda: self._parsed(request, receipt))
            exchange.received_at_s = received_s = time.monotonic()
            with CancelledIfGone(request.scope):
                caller = Caller(parsed.request.priority)
                response, ready = await self._inference.infer(parsed.request, caller, deadline_s, exchange)
        ready.metrics.took("receive", received_s - began_s)
        exchange.answered_at_s = began_s = time.monotonic()
        accepted = header(request.scope, b"accept-encoding") or ""
        return Counted(
            await self._answer(response, parsed.binary, accepted), began_s, ready.metrics, self._intake.metrics
        )

    async def _parsed(self, request: Request, receipt: Receipt) -> Parsed:
        match = _PATH.fullmatch(request.scope["path"])
        assert match, "`takes` has matched it. This is a bug."
        encoding = (header(request.scope, b"content-encoding") or "").strip().lower()
        compression.check(encoding)
        json_bytes = _json_bytes(header(request.scope, _JSON_BYTES))
        limit = self._intake.limits.max_request_bytes
        chunks = await read_chunks(request, limit, receipt)
        if encoding:
            inflated = await self._intake.aside.run(compression.inflated, chunks, encoding, limit)
            receipt.grow(len(inflated))
            chunks = [inflated]
        model, version = match[1], match[2] or ""
        if receipt.bytes > _ON_LOOP_BYTES:
            return await self._intake.aside.run(lambda: parse(b"".join(chunks), json_bytes, model, version))
        return parse(b"".join(chunks), json_bytes, model, version)

    async def _answer(self, response: InferResponse, binary: bool, accept_encoding: str) -> ASGIApp:
        if len(response.values) * len(response.values[0]) > _ON_LOOP_VALUES and not (binary and not accept_encoding):
            return await self._intake.aside.run(infer_response, response, binary, accept_encoding)
        return infer_response(response, binary, accept_encoding)


def _json_bytes(text: str | None) -> int | None:
    """The value of the header with the length of the JSON."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise UnreadBody.of(ServingError(Code.MALFORMED, f"{JSON_BYTES} must be a whole number."))
    return int(text)
