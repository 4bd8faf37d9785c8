"""Outcomes: every call and every photo of a stream ends in an answer or a ServingError, and is counted."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from server.errors import ServingError, internal
from server.metrics import GONE, OK, FaceMetrics

log = logging.getLogger(__name__)
T = TypeVar("T")


class Outcomes:
    def __init__(self, metrics: FaceMetrics) -> None:
        self._metrics = metrics

    async def count(self, answer: Coroutine[Any, Any, T]) -> T:
        """Await an answer, and count its outcome. Raises ServingError, whatever went wrong."""
        answered = await self.settle(answer)
        self._metrics.ended(OK)
        return answered

    async def settle(self, answer: Coroutine[Any, Any, T]) -> T:
        """As `count`, but an answer is not counted."""
        try:
            return await answer
        except ServingError as error:
            self.failed(error)
            raise
        except asyncio.CancelledError:
            self._metrics.ended(GONE)
            raise
        except Exception as error:
            log.exception("a call failed; this is a bug")
            raise self.failed(internal()) from error

    def failed(self, error: ServingError) -> ServingError:
        """Count an error; returns it."""
        self._metrics.ended(error.code)
        return error
