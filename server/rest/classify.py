"""ClassifyRoute: one `POST /classify`, from its body to its answer. Runs on the event loop."""

import time

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.answers import Answer
from server.errors import ServingError
from server.receiving import Receipt
from server.rest.answers import ClassificationAnswer
from server.rest.client import CancelledIfGone
from server.rest.counted import Counted
from server.rest.envelope import exchange_of
from server.rest.intake import Intake
from server.rest.request_options import request_options
from server.service import Classifier

_PREDICTIONS_ON_LOOP = 1000
"""An answer with more predictions is written in a thread, so that it does not hold up the event loop."""


class ClassifyRoute:
    """The handler of the route."""

    def __init__(self, classifier: Classifier, intake: Intake) -> None:
        self._classifier = classifier
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        answer = await self.classify(Request(scope, receive))
        await answer(scope, receive, send)

    async def classify(self, request: Request) -> ASGIApp:
        """Photos in JPEG, PNG or WebP; the bytes decide which. Photos of concurrent requests share a batch."""
        try:
            return await self._classify(request)
        except Exception as error:  # here: one that goes further holds the photo while the answer is sent
            return await self._intake.errors.response(request, error)

    async def _classify(self, request: Request) -> ASGIApp:
        with Receipt(self._intake.budget) as receipt:
            began_s = time.monotonic()
            deadline_s = self._intake.receiver.deadline_s(request)
            body = await self._intake.photos(request, receipt, deadline_s)
            exchange = exchange_of(request.scope)
            exchange.route = "/classify"
            exchange.received_at_s = received_s = time.monotonic()
            options = request_options(request.query_params, body.fields, deadline_s, exchange)
            with CancelledIfGone(request.scope):
                classified = await self._classifier.classify(body.photos, options)
        metrics = classified.ready.metrics
        metrics.took("receive", received_s - began_s)
        exchange.answered_at_s = began_s = time.monotonic()
        if sum(map(_predictions, classified.outcomes)) > _PREDICTIONS_ON_LOOP:
            answer = await self._intake.aside.run(ClassificationAnswer, classified, body.many)
        else:
            answer = ClassificationAnswer(classified, body.many)
        return Counted(answer, began_s, metrics, self._intake.metrics)


def _predictions(outcome: Answer | ServingError) -> int:
    return 0 if isinstance(outcome, ServingError) else len(outcome.predictions)
