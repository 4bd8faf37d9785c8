"""Intake: what every route that takes images needs to receive a request, to answer it and to count it."""

from dataclasses import dataclass

from fastapi import Request

from server.metrics import FaceMetrics
from server.receiving import Receipt, ReceiveBudget
from server.rest.bodies import Body, read_body
from server.rest.error_handlers import ErrorHandlers
from server.rest.receiver import BodyReceiver
from server.scheduling.threads import Threads
from server.service import Limits


@dataclass(frozen=True)
class Intake:
    """`aside` parses large bodies and writes large answers. Used on the event loop."""

    limits: Limits
    metrics: FaceMetrics
    budget: ReceiveBudget
    receiver: BodyReceiver
    aside: Threads
    errors: ErrorHandlers

    async def photos(self, request: Request, receipt: Receipt, deadline_s: float) -> Body:
        """The photos of a request, whose bytes `receipt` counts. Raises ServingError."""
        return await self.receiver.receive(
            request, deadline_s, lambda: read_body(request, self.limits, receipt, self.aside.run)
        )
