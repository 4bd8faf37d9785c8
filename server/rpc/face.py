"""RpcFace: the gRPC server. Translates calls into calls of the service; decides nothing."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.errors import Code, ServingError
from server.metrics import Metrics
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from server.repository import Repository
from server.rpc import messages
from server.rpc.status import STATUS, trailers
from server.rpc.stream import Stream
from server.service import Classifier, Wish
from server.waiting import Caller, Priority

log = logging.getLogger(__name__)

_SERVICE = "sesame.v1.ImageClassifier"
_ENVELOPE_BYTES = 64 << 10
"""What a request may have besides its image."""

_PRIORITY = {pb.INTERACTIVE: Priority.INTERACTIVE, pb.BULK: Priority.BULK}

Context = grpc.aio.ServicerContext[Any, Any]


class RpcFace(pb_grpc.ImageClassifierServicer):
    """One gRPC server over the service, with the standard health service and reflection."""

    def __init__(
        self, classifier: Classifier, repository: Repository, metrics: Metrics, default_timeout_ms: int
    ) -> None:
        self._classifier = classifier
        self._repository = repository
        self._metrics = metrics
        self._default_timeout_s = default_timeout_ms / 1e3
        self._leaving = asyncio.Event()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", classifier.limits.max_image_bytes + _ENVELOPE_BYTES),
                ("grpc.so_reuseport", 0),  # else two servers would share a port, each unknown to the other
            )
        )
        pb_grpc.add_ImageClassifierServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

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
        await self._server.stop(grace_s)

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        caller = Caller(_PRIORITY.get(request.priority, Priority.INTERACTIVE))
        try:
            return await self._answered(request, self._wish(request, context, caller))
        except ServingError as error:
            await _abort(context, error)

    async def ClassifyStream(
        self, requests: AsyncIterator[pb.ClassifyRequest], context: Context
    ) -> AsyncIterator[pb.StreamResponse]:
        callers = {priority: Caller(priority) for priority in Priority}

        async def read() -> pb.ClassifyRequest | None:
            return await self._unless_leaving(context)

        async def answer(request: pb.ClassifyRequest) -> pb.StreamResponse:
            caller = callers[_PRIORITY.get(request.priority, Priority.INTERACTIVE)]
            try:
                answered = await self._answered(request, self._wish(request, context, caller, patient=True))
                return pb.StreamResponse(id=request.id, answer=answered)
            except ServingError as error:
                return pb.StreamResponse(id=request.id, error=pb.Error(code=error.code.value, detail=error.detail))

        async for response in Stream(read, answer, self._classifier.limits.max_images).responses():
            yield response
        if self._leaving.is_set():
            await _abort(context, ServingError(Code.DRAINING, "This server is going away: go on elsewhere."))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        return messages.models(self._repository)

    def _wish(self, request: pb.ClassifyRequest, context: Context, caller: Caller, patient: bool = False) -> Wish:
        left_s = context.time_remaining()
        timeout_s = self._default_timeout_s if left_s is None else min(left_s, self._default_timeout_s)
        return Wish(
            asyncio.get_running_loop().time() + timeout_s,
            caller,
            model=request.model,
            version=request.version,
            top_k=request.top_k or None,
            patient=patient,
        )

    async def _answered(self, request: pb.ClassifyRequest, wish: Wish) -> pb.ClassifyResponse:
        """The answer to one photo, counted. Raises ServingError, whatever went wrong."""
        try:
            if not request.image:
                raise ServingError(Code.MALFORMED, "The field 'image' is empty: send a photo in it.")
            classified = await self._classifier.classify([request.image], wish)
            began_s = time.monotonic()
            response = messages.response(request.id, classified)
            classified.ready.metrics.took("respond", time.monotonic() - began_s)
        except ServingError as error:
            self._metrics.requests.labels("grpc", error.code.value).inc()
            raise
        except asyncio.CancelledError:
            self._metrics.requests.labels("grpc", "gone").inc()
            raise
        except Exception as error:
            log.exception("a call failed; this is a bug")
            self._metrics.requests.labels("grpc", Code.INTERNAL.value).inc()
            raise ServingError(Code.INTERNAL, "The server made a mistake; its log has the details.") from error
        self._metrics.requests.labels("grpc", "ok").inc()
        return response

    async def _unless_leaving(self, context: Context) -> pb.ClassifyRequest | None:
        """The next photo of a stream; None at its end, or when this server goes away."""
        reading = asyncio.ensure_future(context.read())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() and reading.result() is not grpc.aio.EOF else None
        finally:
            reading.cancel()
            leaving.cancel()


async def _abort(context: Context, error: ServingError) -> NoReturn:
    await context.abort(STATUS[error.code], error.detail, trailers(error))
    raise AssertionError("abort raises. This is a bug.")
