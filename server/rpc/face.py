"""RpcFace: the gRPC server. Translates calls into calls of the service; decides nothing."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn
from weakref import WeakValueDictionary

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.errors import Code, ServingError
from server.metrics import Metrics
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.receiving import Receipt, ReceiveBudget
from server.repository import Repository
from server.rpc import messages, requests
from server.rpc.requests import Request
from server.rpc.status import STATUS, trailers
from server.rpc.stream import Stream
from server.service import Classifier, Wish
from server.threads import Threads
from server.waiting import Caller, Priority

log = logging.getLogger(__name__)

_SERVICE = "sesame.v1.ImageClassifier"
_ENVELOPE_BYTES = 64 << 10
"""What a request may have besides its image."""

_AT_ONCE_BYTES = 1 << 20  # a larger message is taken apart in a thread

_WINDOW_BYTES = 64 << 10
"""So much of a message is taken before anybody reads it: an ordinary photo fits, and a large one costs little."""

_CALLS = 128
"""Calls of one connection until their answers are taken. A client holds further ones back, so that neither a burst of
calls nor answers that nobody takes hold up other connections."""

_PENDING = 4096
"""Calls that gRPC keeps until they are handled. It would cancel further ones without saying why."""

_CONNECTION_AGE_MS = 3_600_000  # then clients connect anew, which spreads them over servers; calls are not cut
_KEEPALIVE_MS = 120_000  # a peer that does not answer this ping is gone


Context = grpc.aio.ServicerContext[Any, Any]


class RpcFace:
    """One gRPC server over the service, with the standard health service and reflection."""

    def __init__(
        self,
        classifier: Classifier,
        repository: Repository,
        metrics: Metrics,
        budget: ReceiveBudget,
        aside: Threads,
        max_connections: int,
    ) -> None:
        """`aside` is where large messages are taken apart."""
        self._classifier = classifier
        self._repository = repository
        self._metrics = metrics
        self._budget = budget
        self._max_bytes = classifier.limits.max_image_bytes + _ENVELOPE_BYTES
        self._leaving = asyncio.Event()
        self._receiving: set[asyncio.Timeout] = set()
        self._aside = aside
        self._callers: WeakValueDictionary[tuple[str, Priority], Caller] = WeakValueDictionary()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(self._max_bytes, max_connections))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def _handlers(self) -> grpc.GenericRpcHandler:
        """Classify is handled as a stream of one message: only so can the server decide when to receive it."""
        classify: Any = grpc.stream_unary_rpc_method_handler(self.classify, None, pb.ClassifyResponse.SerializeToString)
        stream: Any = grpc.stream_stream_rpc_method_handler(
            self.classify_stream, None, pb.StreamResponse.SerializeToString
        )
        models = grpc.unary_unary_rpc_method_handler(
            self.list_models, pb.ListModelsRequest.FromString, pb.ListModelsResponse.SerializeToString
        )
        methods: dict[str, Any] = {"Classify": classify, "ClassifyStream": stream, "ListModels": models}
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError where it is taken."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {address}") from error
        await self.set_ready(False)
        await self._server.start()
        return bound

    async def set_ready(self, ready: bool) -> None:
        """What the health service says of the server and of its one service."""
        state = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set("", state)
        await self._health.set(_SERVICE, state)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and no more photos of streams; those accepted have `grace_s` to end."""
        self._leaving.set()
        for patience in self._receiving:
            patience.reschedule(0)
        await self._server.stop(grace_s)

    async def classify(self, _: AsyncIterator[pb.ClassifyRequest], context: Context) -> pb.ClassifyResponse:
        deadline_s = self._classifier.deadline_s(context.time_remaining())

        async def answer() -> pb.ClassifyResponse:
            with Receipt(self._budget) as receipt:
                request = await self._received(context, receipt, deadline_s)
                caller = self._caller(context.peer(), request.priority)
                return await self._answer(request, _wish(request, caller, deadline_s))

        try:
            return await self._counted(answer())
        except ServingError as error:
            refused = error.fresh()  # it does not hold the photo while the answer is sent
        return await _abort(context, refused)

    async def classify_stream(
        self, _: AsyncIterator[pb.ClassifyRequest], context: Context
    ) -> AsyncIterator[pb.StreamResponse]:
        callers = {priority: self._caller(context.peer(), priority) for priority in Priority}

        async def read() -> Request | None:
            request = await self._unless_leaving(context)
            if request is not None:
                await self._budget.hold(receipt, len(request.image))  # until then no more is read
            return request

        async def answer(request: Request) -> pb.StreamResponse:
            wish = _wish(
                request, callers[request.priority], self._classifier.deadline_s(context.time_remaining()), patient=True
            )
            try:
                answered = await self._counted(self._answer(request, wish))
                return pb.StreamResponse(id=request.id, answer=answered)
            except ServingError as error:
                return pb.StreamResponse(id=request.id, error=pb.Error(code=error.code.value, detail=error.detail))
            finally:
                receipt.shrink_by(len(request.image))

        with Receipt(self._budget) as receipt:
            if not self._budget.has_room(0, self._max_bytes):
                await _abort(context, self._refused(_too_many_streams()))
            receipt.grow(self._max_bytes)  # for the message that is being received, which is seen only when it is whole
            try:
                async for response in Stream(read, answer, self._classifier.limits.max_images).responses():
                    yield response
            except ServingError as error:
                await _abort(context, self._refused(error))
        if self._leaving.is_set():
            await _abort(context, ServingError(Code.DRAINING, "This server is going away: go on elsewhere."))

    async def list_models(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        return messages.models(self._repository)

    def _caller(self, peer: str, priority: Priority) -> Caller:
        """All calls of one connection are one caller, so that opening more of them gains nothing."""
        key = (peer, priority)
        caller = self._callers.get(key) or Caller(priority)
        self._callers[key] = caller
        return caller

    async def _received(self, context: Context, receipt: Receipt, deadline_s: float) -> Request:
        """The call's message, received only when there is room for the largest one allowed."""
        pushed = False

        def give_way() -> None:
            nonlocal pushed
            pushed = True
            patience.reschedule(0)

        try:
            async with asyncio.timeout_at(deadline_s) as patience:
                self._receiving.add(patience)
                await self._budget.promise(receipt, self._max_bytes, give_way)
                serialized = await context.read()
        except TimeoutError:
            raise self._classifier.draining() or _was_slow(pushed) from None
        finally:
            self._receiving.discard(patience)
            self._budget.redeem(receipt)
        if serialized is grpc.aio.EOF:
            raise ServingError(Code.MALFORMED, "The call has no message: send a photo.")
        receipt.grow(len(serialized))
        return await self._parsed(serialized)

    async def _parsed(self, serialized: bytes) -> Request:
        if len(serialized) > _AT_ONCE_BYTES:
            return await self._aside.run(requests.parse, serialized)
        return requests.parse(serialized)

    async def _answer(self, request: Request, wish: Wish) -> pb.ClassifyResponse:
        if not request.image:
            raise ServingError(Code.MALFORMED, "The field 'image' is empty: send a photo in it.")
        classified = await self._classifier.classify([request.image], wish)
        began_s = time.monotonic()
        response = messages.response(request.id, classified)
        classified.ready.metrics.took("respond", time.monotonic() - began_s)
        return response

    async def _counted(self, answer: Coroutine[Any, Any, pb.ClassifyResponse]) -> pb.ClassifyResponse:
        """The answer, counted by its outcome. Raises ServingError, whatever went wrong."""
        try:
            response = await answer
        except ServingError as error:
            self._refused(error)
            raise
        except asyncio.CancelledError:
            self._metrics.requests.labels("grpc", "gone").inc()
            raise
        except Exception as error:
            log.exception("a call failed; this is a bug")
            bug = ServingError(Code.INTERNAL, "The server made a mistake; its log has the details.")
            raise self._refused(bug) from error
        self._metrics.requests.labels("grpc", "ok").inc()
        return response

    def _refused(self, error: ServingError) -> ServingError:
        self._metrics.requests.labels("grpc", error.code.value).inc()
        return error

    async def _unless_leaving(self, context: Context) -> Request | None:
        """The next photo of a stream; None at its end, or when this server goes away. Raises ServingError MALFORMED."""
        reading = asyncio.ensure_future(context.read())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
            ended = not reading.done() or reading.result() is grpc.aio.EOF
            return None if ended else await self._parsed(reading.result())
        finally:
            reading.cancel()
            leaving.cancel()


def _options(max_bytes: int, max_connections: int) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.so_reuseport", 0),  # else two servers would share a port, each unknown to the other
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.max_concurrent_streams", _CALLS),
        ("grpc.http.overload_protection", 0),  # it refuses calls within the limit, and without a code
        ("grpc.server.max_pending_requests", _PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),  # it would make the window larger by itself
        ("grpc.max_connection_age_ms", _CONNECTION_AGE_MS),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    )


def _wish(request: Request, caller: Caller, deadline_s: float, patient: bool = False) -> Wish:
    return Wish(
        deadline_s,
        caller,
        model=request.model,
        version=request.version,
        top_k=request.top_k,
        patient=patient,
    )


def _was_slow(pushed: bool) -> ServingError:
    if pushed:
        return ServingError(
            Code.QUEUE_FULL, "The message came slowly while others had no room: send it again.", retry_after_s=1
        )
    return ServingError(Code.DEADLINE, "The message did not come before the deadline: allow more time.")


def _too_many_streams() -> ServingError:
    return ServingError(
        Code.QUEUE_FULL,
        "Too many streams are open: send photos by fewer of them, or let the server's receive_bytes be raised.",
        retry_after_s=1,
    )


async def _abort(context: Context, error: ServingError) -> NoReturn:
    await context.abort(STATUS[error.code], error.detail, trailers(error))
    raise AssertionError("abort raises. This is a bug.")
