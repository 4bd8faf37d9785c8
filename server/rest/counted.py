"""Counted: an answer that is counted and timed when it has been sent."""

import time

from starlette.types import ASGIApp, Receive, Scope, Send

from server.metrics import OK, FaceMetrics, ModelMetrics


class Counted:
    """An ASGI application that sends another one's answer."""

    def __init__(self, answer: ASGIApp, began_s: float, model: ModelMetrics, face: FaceMetrics) -> None:
        """`began_s`: when the server began to make the answer, on the monotonic clock."""
        self._answer = answer
        self._began_s = began_s
        self._model = model
        self._face = face

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)
        self._model.took("respond", time.monotonic() - self._began_s)
        self._face.ended(OK)
