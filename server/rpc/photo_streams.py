"""PhotoStreams: `ClassifyStream` calls, from their messages to their responses. On the event loop."""

import asyncio
from collections.abc import AsyncIterator

import grpc

from server.errors import Code, ServingError
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.receiving import Receipt, ReceiveBudget
from server.rpc.callers import Callers
from server.rpc.outcomes import Outcomes
from server.rpc.photos import answer_photo
from server.rpc.receiver import MessageReceiver
from server.rpc.requests import PhotoRequest
from server.rpc.status import Context, abort
from server.rpc.stream import Stream
from server.scheduling.fair_queue import Caller, Priority
from server.service import Classifier


class PhotoStreams:
    """All streams of the server."""

    def __init__(
        self,
        classifier: Classifier,
        callers: Callers,
        receiver: MessageReceiver,
        outcomes: Outcomes,
        budget: ReceiveBudget,
        max_bytes: int,
    ) -> None:
        """`max_bytes` is the size of the largest message allowed."""
        self._classifier = classifier
        self._callers = callers
        self._receiver = receiver
        self._outcomes = outcomes
        self._budget = budget
        self._max_bytes = max_bytes
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Read no more photos. Those that were read are still answered."""
        self._leaving.set()

    async def classify_stream(
        self, _: AsyncIterator[pb.ClassifyRequest], context: Context
    ) -> AsyncIterator[pb.StreamResponse]:
        """The responses of one call. Aborts the call if it fails as a whole."""
        with Receipt(self._budget) as receipt:
            if not self._budget.has_room(0, self._max_bytes):
                await abort(context, self._outcomes.failed(_too_many_streams()))
            receipt.grow(self._max_bytes)  # for the message that is being received: its size is known when it is whole
            try:
                async for response in self._stream(context, receipt).responses():
                    yield response
            except ServingError as error:
                await abort(context, self._outcomes.failed(error))
        if self._leaving.is_set():
            await abort(context, ServingError(Code.DRAINING, "This server is shutting down: continue on another one."))

    def _stream(self, context: Context, receipt: Receipt) -> Stream[PhotoRequest]:
        callers = {priority: self._callers.of(context.peer(), priority) for priority in Priority}

        async def read() -> PhotoRequest | None:
            request = await self._next(context)
            if request is not None:
                await self._budget.hold(receipt, len(request.image))  # no more is read until there is room
            return request

        async def answer(request: PhotoRequest) -> pb.StreamResponse:
            try:
                return await self._answer(request, callers[request.priority], context)
            finally:
                receipt.shrink_by(len(request.image))

        return Stream(read, answer, self._classifier.limits.max_images)

    async def _next(self, context: Context) -> PhotoRequest | None:
        """The next photo; None at the end of the stream, or when this server leaves. Raises ServingError MALFORMED."""
        reading = asyncio.ensure_future(context.read())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
            ended = not reading.done() or reading.result() is grpc.aio.EOF
            return None if ended else await self._receiver.parse(reading.result())
        finally:
            reading.cancel()
            leaving.cancel()

    async def _answer(self, request: PhotoRequest, caller: Caller, context: Context) -> pb.StreamResponse:
        options = request.options(caller, self._classifier.deadline_s(context.time_remaining()), patient=True)
        try:
            answered = await self._outcomes.count(answer_photo(self._classifier, request, options))
            return pb.StreamResponse(id=request.id, answer=answered)
        except ServingError as error:
            return pb.StreamResponse(id=request.id, error=pb.Error(code=error.code.value, detail=error.detail))


def _too_many_streams() -> ServingError:
    return ServingError(
        Code.QUEUE_FULL,
        "Too many streams are open: send photos over fewer streams, or raise the server's setting receive_bytes.",
        retry_after_s=1,
    )
