"""RayCall: a call from Ray's gRPC proxy, as the handlers of the gRPC face expect calls."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from server.pb.sesame.v1 import classifier_pb2 as pb
from server.rpc.calls import Handler

SERVICE = pb.DESCRIPTOR.services_by_name["ImageClassifier"]

M = TypeVar("M", bound=Message)


class RayContext(Protocol):
    """What is used of `ray.serve.grpc_util.RayServegRPCContext`, which travels back to the proxy with the answer."""

    def peer(self) -> str: ...
    def multiplexed_model_id(self) -> str | None: ...
    def set_code(self, code: grpc.StatusCode) -> None: ...
    def set_details(self, details: str) -> None: ...
    def invocation_metadata(self) -> Sequence[tuple[str, str]]: ...
    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None: ...


def add_classifier(servicer: object, server: grpc.Server) -> None:
    """For Ray's `grpc_servicer_functions`: the proxy hands on messages as the bytes that they came in.

    With the generated function it would parse them, and could not pass them to a replica: pickle does not find their
    classes under the name that protobuf gives their module.
    """

    def replaced(request: object, context: object) -> NoReturn:
        raise AssertionError("Ray puts its own function in this place.")

    methods: dict[str, Handler] = {
        method.name: grpc.stream_stream_rpc_method_handler(replaced)
        if method.client_streaming
        else grpc.unary_unary_rpc_method_handler(replaced)
        for method in SERVICE.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, methods),))


class Aborted(Exception):
    """The call has failed; Ray's context says how."""


class RayCall:
    """In the place of gRPC's context. Ray does not hand on the client's deadline."""

    def __init__(self, messages: AsyncIterator[bytes], context: RayContext) -> None:
        self._messages = messages
        self._context = context

    def __getattr__(self, name: str) -> Any:
        """All else is Ray's context's, such as `peer`."""
        return getattr(self._context, name)

    def time_remaining(self) -> None:
        """Unknown here: Ray cancels the call when its deadline has passed."""

    def set_trailing_metadata(self, trailing: Sequence[tuple[str, str]]) -> None:
        self._context.set_trailing_metadata(list(trailing))

    async def read(self) -> Any:
        """The next message, serialized; `grpc.aio.EOF` after the last."""
        return await anext(self._messages, grpc.aio.EOF)

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str]] = ()) -> NoReturn:
        """Raises Aborted."""
        self._context.set_code(code)
        self._context.set_details(details)
        self._context.set_trailing_metadata(list(trailing))
        raise Aborted(details)


async def answer(handler: Handler, request: bytes, context: RayContext, empty: type[M]) -> Message:
    """What a handler of one request answers, or an empty message where it failed: the context says how."""
    call = RayCall(_once(request), context)
    try:
        answered: Message = await handler.stream_unary(call, call)
    except Aborted:
        return empty()
    return answered


def answers(handler: Handler, requests: AsyncIterator[bytes], context: RayContext) -> AsyncIterator[Message]:
    """What a handler of many requests answers. Raises Aborted where the whole call fails: Ray takes its code."""
    call = RayCall(requests, context)
    stream: AsyncIterator[Message] = handler.stream_stream(call, call)
    return stream


async def _once(request: bytes) -> AsyncIterator[bytes]:
    yield request
