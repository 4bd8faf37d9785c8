"""ExplainRoute: one `POST /explain`, from its body to its answer. Runs on the event loop."""

import time

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import Code, ServingError
from server.explaining.explainer import Explainer
from server.receiving import Receipt
from server.rest.client import CancelledIfGone
from server.rest.counted import Counted
from server.rest.envelope import exchange_of
from server.rest.explanations import ExplanationAnswer, wanted
from server.rest.intake import Intake
from server.rest.request_options import request_options


class ExplainRoute:
    """The handler of the route."""

    def __init__(self, explainer: Explainer, intake: Intake) -> None:
        self._explainer = explainer
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        answer = await self.explain(Request(scope, receive))
        await answer(scope, receive, send)

    async def explain(self, request: Request) -> ASGIApp:
        """The predictions for one photo; for one class, where in the photo its evidence is; and the gates of the
        squeeze-and-excitation blocks. Computed on the CPU behind all other work.
        """
        try:
            return await self._explain(request)
        except Exception as error:  # here: one that goes further holds the photo while the answer is sent
            return await self._intake.errors.response(request, error)

    async def _explain(self, request: Request) -> ASGIApp:
        with Receipt(self._intake.budget) as receipt:
            deadline_s = self._intake.receiver.deadline_s(request)
            body = await self._intake.photos(request, receipt, deadline_s)
            if len(body.photos) != 1:
                raise ServingError(Code.MALFORMED, f"{len(body.photos)} photos in one request: send one to explain.")
            exchange = exchange_of(request.scope)
            exchange.route = "/explain"
            exchange.received_at_s = time.monotonic()
            options = request_options(request.query_params, body.fields, deadline_s, exchange)
            with CancelledIfGone(request.scope):
                explained = await self._explainer.explain(body.photos[0], options, wanted(request.query_params))
        exchange.answered_at_s = began_s = time.monotonic()
        answer = await self._intake.aside.run(ExplanationAnswer, explained)
        return Counted(answer, began_s, explained.ready.metrics, self._intake.metrics)
