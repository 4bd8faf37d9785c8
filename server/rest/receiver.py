"""BodyReceiver: gives each body the time of its request, and rejects those still coming when the server drains."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request

from server.errors import Code, ServingError
from server.rest.bodies import UnreadBody
from server.rest.client import client_of
from server.rest.request_head import header
from server.rest.request_options import timeout_s
from server.service import Classifier

T = TypeVar("T")


class BodyReceiver:
    """Runs on the event loop."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._receiving: set[asyncio.Timeout] = set()

    def end_receiving(self) -> None:
        """Reject the bodies that are still being received, because the server drains."""
        now_s = asyncio.get_running_loop().time()
        for timeout in self._receiving:
            timeout.reschedule(now_s)

    def deadline_s(self, request: Request) -> float:
        """When the answer must be there, on the monotonic clock. Raises UnreadBody for a header that is wrong."""
        text = header(request.scope, b"x-request-timeout-ms")
        try:
            wanted_s = None if text is None else timeout_s(text, self._classifier.limits.max_timeout_s)
        except ServingError as error:
            raise UnreadBody.of(error) from None
        return self._classifier.deadline_s(wanted_s)

    async def receive(self, request: Request, deadline_s: float, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` makes of the body. Raises UnreadBody where it comes too slowly, or the server drains."""
        self._reject_if_draining()
        if client_of(request.scope).has_sent_all():  # as for most photos: nothing has to be waited for
            return await read()
        try:
            async with asyncio.timeout_at(deadline_s) as timeout:
                self._receiving.add(timeout)
                try:
                    return await read()
                finally:
                    self._receiving.remove(timeout)
        except TimeoutError:
            self._reject_if_draining()
            raise UnreadBody(Code.SLOW_BODY, "The body came too slowly: send it within the request's time.") from None

    def _reject_if_draining(self) -> None:
        if error := self._classifier.draining():
            raise UnreadBody.of(error)
