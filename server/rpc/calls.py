"""Calls: how the methods of all services receive a request, and answer it or fail. On the event loop."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from server.errors import Code, ServingError
from server.journal import Journal
from server.keys.access import Access
from server.receiving import Receipt, ReceiveBudget
from server.rpc.call import Call, CallHead, Noted, reply_metadata
from server.rpc.caller_key import key_of
from server.rpc.callers import Callers
from server.rpc.outcomes import Outcomes
from server.rpc.peers import Peers
from server.rpc.receiver import MessageReceiver
from server.rpc.status import Context, abort
from server.rpc.streams import Streams
from server.service import Classifier

Request = TypeVar("Request")
M = TypeVar("M", bound=Message)

Handler = Any
"""grpc.RpcMethodHandler; grpc-stubs knows only those of the synchronous server."""

Method = Callable[[str], Handler]
"""Makes a method's handler from its full name."""


class Service(Protocol):
    """The calls of one service."""

    NAME: ClassVar[str]

    def methods(self) -> dict[str, Method]:
        """By the names of their methods."""
        ...

    def leave(self) -> None:
        """Read no more requests of streams."""
        ...


@dataclass(frozen=True)
class Calls:
    """What all methods need."""

    classifier: Classifier
    budget: ReceiveBudget
    receiver: MessageReceiver
    outcomes: Outcomes
    callers: Callers
    peers: Peers
    journal: Journal
    access: Access | None = None  # None: no call needs a key

    def unary(
        self,
        parse: Callable[[bytes], Request],
        answer: Callable[[Request, Call], Awaitable[Message]],
        counted: bool = False,
        open: bool = False,
    ) -> Method:
        """A method of one request and one response. `answer(request, call)` may raise ServingError.
        `counted`: its answers count as requests; it takes images. `open`: it needs no key.

        It is handled as a stream of one message: only then can the server decide when to receive it.
        """
        outcome = self.outcomes.count if counted else self.outcomes.settle
        access = None if open else self.access

        async def call(method: str, context: Context) -> Message:
            exchange = CallHead.of(context, method, self.peers).exchange(self.journal, minor=not counted)
            told = reply_metadata(exchange)
            try:
                with Noted(exchange, self.journal):
                    request = Call.begin(exchange, context, self.classifier)
                    message = await outcome(self._answered(parse, answer, request, access, counted))
                context.set_trailing_metadata(told)
                return message
            except ServingError as error:
                failed = error.fresh()  # it does not hold the images while the answer is sent
            return await abort(context, failed, told)

        def named(method: str) -> Handler:
            async def handle(_: AsyncIterator[bytes], context: Context) -> Message:
                return await call(method, context)

            return grpc.stream_unary_rpc_method_handler(handle, None, _serialized)

        return named

    def streaming(self, streams: Streams[Any, Any]) -> Method:
        """A method of many requests and responses."""

        def named(method: str) -> Handler:
            async def handle(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
                async with aclosing(streams.responses(method, context)) as responses:
                    async for response in responses:
                        yield response

            return grpc.stream_stream_rpc_method_handler(handle, None, _serialized)

        return named

    async def _answered(
        self,
        parse: Callable[[bytes], Request],
        answer: Callable[[Request, Call], Awaitable[Message]],
        call: Call,
        access: Access | None,
        takes_images: bool,
    ) -> Message:
        call.exchange.key = key_of(call.context, access, takes_images)  # before the message is received
        with Receipt(self.budget) as receipt:
            request = await self.receiver.receive(call.context, receipt, call.deadline_s, parse)
            call.exchange.received_at_s = time.monotonic()
            return await answer(request, call)


def parser(kind: type[M]) -> Callable[[bytes], M]:
    """Parses a message of that type; raises ServingError MALFORMED."""

    def parse(serialized: bytes) -> M:
        try:
            return kind.FromString(serialized)
        except DecodeError:
            raise ServingError(
                Code.MALFORMED, f"The message is not a {kind.DESCRIPTOR.name}: send what the .proto file defines."
            ) from None

    return parse


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
