"""Calls: how the methods of all services receive a request, and answer it or fail. On the event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from server.errors import Code, ServingError
from server.keys.access import Access
from server.receiving import Receipt, ReceiveBudget
from server.rpc.call import Call
from server.rpc.caller_key import key_of
from server.rpc.callers import Callers
from server.rpc.outcomes import Outcomes
from server.rpc.receiver import MessageReceiver
from server.rpc.status import Context, abort
from server.rpc.streams import Streams
from server.service import Classifier

Request = TypeVar("Request")
M = TypeVar("M", bound=Message)

Handler = Any  # grpc.RpcMethodHandler; grpc-stubs knows only those of the synchronous server


class Service(Protocol):
    """The calls of one service."""

    NAME: ClassVar[str]

    def handlers(self) -> dict[str, Handler]:
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
    access: Access | None = None  # None: no call needs a key

    def unary(
        self,
        parse: Callable[[bytes], Request],
        answer: Callable[[Request, Call], Awaitable[Message]],
        counted: bool = False,
        open: bool = False,
    ) -> Handler:
        """A method of one request and one response. `answer(request, call)` may raise ServingError.
        `counted`: its answers count as requests; it takes images. `open`: it needs no key.

        It is handled as a stream of one message: only then can the server decide when to receive it.
        """
        outcome = self.outcomes.count if counted else self.outcomes.settle
        access = None if open else self.access

        async def call(_: AsyncIterator[bytes], context: Context) -> Message:
            try:
                return await outcome(self._answered(parse, answer, context, access, counted))
            except ServingError as error:
                failed = error.fresh()  # it does not hold the images while the answer is sent
            return await abort(context, failed)

        return grpc.stream_unary_rpc_method_handler(call, None, _serialized)

    def streaming(self, streams: Streams[Any, Any]) -> Handler:
        """A method of many requests and responses."""
        return grpc.stream_stream_rpc_method_handler(streams.responses, None, _serialized)

    async def _answered(
        self,
        parse: Callable[[bytes], Request],
        answer: Callable[[Request, Call], Awaitable[Message]],
        context: Context,
        access: Access | None,
        takes_images: bool,
    ) -> Message:
        key = key_of(context, access, takes_images)  # before the message is received
        call = Call.begin(context, self.classifier, key)
        with Receipt(self.budget) as receipt:
            request = await self.receiver.receive(context, receipt, call.deadline_s, parse)
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
