"""ClassifyRoute: one `POST /classify`, from its body to its answer. Runs on the event loop."""

import asyncio
import time

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from server.decoding.threads import Threads
from server.errors import Code, ServingError
from server.metrics import OK, FaceMetrics
from server.receiving import Receipt, ReceiveBudget
from server.rest.answers import ClassificationAnswer
from server.rest.bodies import Body, UnreadBody, read_body
from server.rest.client import CancelledIfGone, client_of
from server.rest.error_handlers import ErrorHandlers
from server.rest.request_head import header
from server.rest.request_options import request_options, timeout_s
from server.service import Answer, Classified, Classifier

_PREDICTIONS_ON_LOOP = 1000
"""An answer with more predictions is written in a thread, so that it does not hold up the event loop."""


class ClassifyRoute:
    """The handler of the route."""

    def __init__(
        self,
        classifier: Classifier,
        metrics: FaceMetrics,
        budget: ReceiveBudget,
        aside: Threads,
        errors: ErrorHandlers,
    ) -> None:
        """`aside` parses large bodies and writes large answers."""
        self._classifier = classifier
        self._metrics = metrics
        self._budget = budget
        self._aside = aside
        self._errors = errors
        self._receiving: set[asyncio.Timeout] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        response = await self.classify(Request(scope, receive))
        await response(scope, receive, send)

    async def classify(self, request: Request) -> Response:
        """Photos in JPEG, PNG or WebP; the bytes decide which. Photos of concurrent requests share a batch."""
        try:
            return await self._classify(request)
        except (
            Exception
        ) as error:  # here, since an exception that goes further holds the photo while the answer is sent
            return await self._errors.response(request, error)

    def end_receiving(self) -> None:
        """Reject the bodies that are still being received, because the server drains."""
        now_s = asyncio.get_running_loop().time()
        for timeout in self._receiving:
            timeout.reschedule(now_s)

    async def _classify(self, request: Request) -> Response:
        with Receipt(self._budget) as receipt:
            began_s = time.monotonic()
            deadline_s = self._deadline_s(request)
            body = await self._body(request, deadline_s, receipt)
            received_s = time.monotonic()
            options = request_options(request.query_params, body.fields, deadline_s)
            with CancelledIfGone(request.scope):
                classified = await self._classifier.classify(body.photos, options)
        classified.ready.metrics.took("receive", received_s - began_s)
        if sum(map(_predictions, classified.outcomes)) > _PREDICTIONS_ON_LOOP:
            return await self._aside.run(self._answer, classified, body.many)
        return self._answer(classified, body.many)

    def _answer(self, classified: Classified, many: bool) -> Response:
        return _CountedAnswer(classified, many, self._metrics)

    def _deadline_s(self, request: Request) -> float:
        text = header(request.scope, b"x-request-timeout-ms")
        try:
            wanted_s = None if text is None else timeout_s(text, self._classifier.limits.max_timeout_s)
        except ServingError as error:
            raise UnreadBody.of(error) from None
        return self._classifier.deadline_s(wanted_s)

    async def _body(self, request: Request, deadline_s: float, receipt: Receipt) -> Body:
        self._reject_if_draining()
        if client_of(request.scope).has_sent_all():  # as for most photos: nothing has to be waited for
            return await self._read(request, receipt)
        try:
            async with asyncio.timeout_at(deadline_s) as timeout:
                self._receiving.add(timeout)
                try:
                    return await self._read(request, receipt)
                finally:
                    self._receiving.remove(timeout)
        except TimeoutError:
            self._reject_if_draining()
            raise UnreadBody(Code.SLOW_BODY, "The body came too slowly: send it within the request's time.") from None

    async def _read(self, request: Request, receipt: Receipt) -> Body:
        return await read_body(request, self._classifier.limits, receipt, self._aside.run)

    def _reject_if_draining(self) -> None:
        if error := self._classifier.draining():
            raise UnreadBody.of(error)


class _CountedAnswer(ClassificationAnswer):
    """An answer that is counted and timed when it has been sent."""

    def __init__(self, classified: Classified, many: bool, metrics: FaceMetrics) -> None:
        """Raises the ServingError of a photo that was sent alone."""
        self._began_s = time.monotonic()
        self._classified = classified
        self._metrics = metrics
        super().__init__(classified, many)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        self._classified.ready.metrics.took("respond", time.monotonic() - self._began_s)
        self._metrics.ended(OK)


def _predictions(outcome: Answer | ServingError) -> int:
    return 0 if isinstance(outcome, ServingError) else len(outcome.predictions)
