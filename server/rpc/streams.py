"""Streams: calls of many requests, from their messages to their responses. On the event loop."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, NoReturn, TypeVar

import grpc

from server.errors import Code, ServingError
from server.journal import Journal
from server.keys.access import Access
from server.keys.key import Key
from server.receiving import Receipt, ReceiveBudget
from server.rpc.call import Call, CallHead, Noted, failed, reply_metadata
from server.rpc.caller_key import key_of
from server.rpc.outcomes import Outcomes
from server.rpc.peers import Peers
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
        peers: Peers,
        journal: Journal,
        in_order: bool = False,
        access: Access | None = None,
    ) -> None:
        """`window`: most requests of a stream not answered yet. `parse`: the request in a message, and its size in
        bytes; it raises ServingError. `answer` does not raise: what went wrong is in the response, and told to the
        call. `in_order`: as in `Stream`. Each message has its entry in the journal, and so has a call that fails.
        `access`: who may send, asked for each request, so that a key that is removed ends its streams.
        """
        self._classifier = classifier
        self._receiver = receiver
        self._outcomes = outcomes
        self._budget = budget
        self._window = window
        self._parse = parse
        self._answer = answer
        self._peers = peers
        self._journal = journal
        self._in_order = in_order
        self._access = access
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Read no more requests. Those that were read are still answered."""
        self._leaving.set()

    async def responses(self, method: str, context: Context) -> AsyncGenerator[Response]:
        """The responses of one call of the method. Aborts the call if it fails as a whole."""
        head = CallHead.of(context, method, self._peers)
        try:
            key_of(context, self._access)
        except ServingError as error:
            await self._abort(context, head, self._outcomes.failed(error))
        with Receipt(self._budget) as receipt:
            if not self._budget.has_room(0, self._receiver.max_bytes):
                await self._abort(context, head, self._outcomes.failed(_too_many_streams()))
            receipt.grow(self._receiver.max_bytes)  # for the message being received: its size is known when it is whole
            try:
                async for response in self._stream(context, head, receipt).responses():
                    yield response
            except ServingError as error:
                await self._abort(context, head, self._outcomes.failed(error))
        if self._leaving.is_set():
            leaving = ServingError(Code.DRAINING, "This server is shutting down: continue on another one.")
            await self._abort(context, head, leaving)
        context.set_trailing_metadata((("x-request-id", head.request_id),))

    async def _abort(self, context: Context, head: CallHead, error: ServingError) -> NoReturn:
        exchange = head.exchange(self._journal)
        failed(exchange, error)
        self._journal.end(exchange)
        await abort(context, error, reply_metadata(exchange))

    def _stream(
        self, context: Context, head: CallHead, receipt: Receipt
    ) -> Stream[tuple[Request, int, Key | None], Response]:
        numbers = itertools.count(1)

        async def read() -> tuple[Request, int, Key | None] | None:
            parsed = await self._next(context)
            if parsed is None:
                return None
            key = key_of(context, self._access)
            await self._budget.hold(receipt, parsed[1])  # no more is read until there is room
            return *parsed, key

        async def answer(parsed: tuple[Request, int, Key | None]) -> Response:
            exchange = head.exchange(self._journal, number=next(numbers))
            exchange.key = parsed[2]
            try:
                with Noted(exchange, self._journal):
                    return await self._answer(parsed[0], Call.begin(exchange, context, self._classifier))
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
