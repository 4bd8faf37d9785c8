"""Streams: calls of many requests, from their messages to their responses. On the event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

import grpc

from server.errors import Code, ServingError
from server.keys.access import Access
from server.keys.key import Key
from server.receiving import Receipt, ReceiveBudget
from server.rpc.call import Call
from server.rpc.caller_key import key_of
from server.rpc.outcomes import Outcomes
from server.rpc.receiver import MessageReceiver
from server.rpc.status import Context, abort
from server.rpc.stream import Stream
from server.service import Classifier

Request = TypeVar("Request")
Response = TypeVar("Response")


class Streams(Generic[Request, Response]):
    """All streams of one method."""

    def __init__(
        self,
        classifier: Classifier,
        receiver: MessageReceiver,
        outcomes: Outcomes,
        budget: ReceiveBudget,
        window: int,
        parse: Callable[[bytes], tuple[Request, int]],
        answer: Callable[[Request, Call], Awaitable[Response]],
        in_order: bool = False,
        access: Access | None = None,
    ) -> None:
        """`window`: most requests of a stream not answered yet. `parse`: the request in a message, and its size in
        bytes; it raises ServingError. `answer` does not raise: what went wrong is in the response. `in_order`: as in
        `Stream`. `access`: who may send, asked for each request, so that a key that is removed ends its streams.
        """
        self._classifier = classifier
        self._receiver = receiver
        self._outcomes = outcomes
        self._budget = budget
        self._window = window
        self._parse = parse
        self._answer = answer
        self._in_order = in_order
        self._access = access
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Read no more requests. Those that were read are still answered."""
        self._leaving.set()

    async def responses(self, _: AsyncIterator[bytes], context: Context) -> AsyncIterator[Response]:
        """The responses of one call. Aborts the call if it fails as a whole."""
        try:
            key_of(context, self._access)
        except ServingError as error:
            await abort(context, self._outcomes.failed(error))
        with Receipt(self._budget) as receipt:
            if not self._budget.has_room(0, self._receiver.max_bytes):
                await abort(context, self._outcomes.failed(_too_many_streams()))
            receipt.grow(self._receiver.max_bytes)  # for the message being received: its size is known when it is whole
            try:
                async for response in self._stream(context, receipt).responses():
                    yield response
            except ServingError as error:
                await abort(context, self._outcomes.failed(error))
        if self._leaving.is_set():
            await abort(context, ServingError(Code.DRAINING, "This server is shutting down: continue on another one."))

    def _stream(self, context: Context, receipt: Receipt) -> Stream[tuple[Request, int, Key | None], Response]:
        async def read() -> tuple[Request, int, Key | None] | None:
            parsed = await self._next(context)
            if parsed is None:
                return None
            key = key_of(context, self._access)
            await self._budget.hold(receipt, parsed[1])  # no more is read until there is room
            return *parsed, key

        async def answer(parsed: tuple[Request, int, Key | None]) -> Response:
            try:
                return await self._answer(parsed[0], Call.begin(context, self._classifier, parsed[2]))
            finally:
                receipt.shrink_by(parsed[1])

        return Stream(read, answer, self._window, self._in_order)

    async def _next(self, context: Context) -> tuple[Request, int] | None:
        """The next request; None at the end of the stream, or when this server leaves. Raises ServingError."""
        reading = asyncio.ensure_future(context.read())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
            ended = not reading.done() or reading.result() is grpc.aio.EOF
            return None if ended else await self._receiver.parse(reading.result(), self._parse)
        finally:
            reading.cancel()
            leaving.cancel()


def _too_many_streams() -> ServingError:
    return ServingError(
        Code.QUEUE_FULL,
        "Too many streams are open: use fewer streams, or raise the server's setting receive_bytes.",
        retry_after_s=1,
    )
