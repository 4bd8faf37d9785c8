"""The gRPC face: translates calls of `sesame.v1.ImageClassifier` into calls of the service; decides nothing."""

import asyncio
import logging
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.errors import Code, ServingError
from server.metrics import Metrics
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from server.repository import Entry, Repository
from server.service import Answer, Classified, Classifier

log = logging.getLogger(__name__)

STATUS: dict[Code, grpc.StatusCode] = {
    Code.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
    Code.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNSUPPORTED_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.BAD_IMAGE: grpc.StatusCode.INVALID_ARGUMENT,
    Code.TOO_MANY_PIXELS: grpc.StatusCode.INVALID_ARGUMENT,
    Code.ANIMATED: grpc.StatusCode.INVALID_ARGUMENT,
    Code.QUEUE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.ENGINE_FAILED: grpc.StatusCode.INTERNAL,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
    Code.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Code.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Code.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
}
HTTP_ONLY = frozenset({Code.UNKNOWN_PATH, Code.METHOD, Code.SLOW_BODY})
"""Errors that gRPC itself answers in its own way."""

_PUSHBACK = frozenset({Code.QUEUE_FULL, Code.NOT_READY})
"""Errors after which the same server should be tried again, and when."""

_SERVICE = "sesame.v1.ImageClassifier"
_ENVELOPE_BYTES = 64 << 10
"""What a request may have besides its image."""

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
        """Take no more calls; those running have `grace_s` to end."""
        await self._server.stop(grace_s)

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        try:
            classified = await self._classify(request, context)
        except ServingError as error:
            await self._abort(context, error)
        except asyncio.CancelledError:
            self._metrics.requests.labels("grpc", "gone").inc()
            raise
        except Exception:
            log.exception("a call failed; this is a bug")
            await self._abort(
                context, ServingError(Code.INTERNAL, "The server made a mistake; its log has the details.")
            )
        self._metrics.requests.labels("grpc", "ok").inc()
        return classified

    async def _classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        if not request.image:
            raise ServingError(Code.MALFORMED, "The field 'image' is empty: send a photo in it.")
        left_s = context.time_remaining()
        timeout_s = self._default_timeout_s if left_s is None else min(left_s, self._default_timeout_s)
        classified = await self._classifier.classify(
            [request.image],
            model=request.model,
            version=request.version,
            top_k=request.top_k or None,
            deadline_s=asyncio.get_running_loop().time() + timeout_s,
        )
        (outcome,) = classified.outcomes
        if isinstance(outcome, ServingError):
            raise outcome
        return _response(request.id, classified, outcome)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=[_model(entry) for entry in self._repository.entries()])

    async def _abort(self, context: Context, error: ServingError) -> NoReturn:
        self._metrics.requests.labels("grpc", error.code.value).inc()
        trailers: tuple[tuple[str, str], ...] = (("sesame-code", error.code.value),)
        if error.code in _PUSHBACK and error.retry_after_s is not None:
            trailers += (("grpc-retry-pushback-ms", str(error.retry_after_s * 1000)),)
        await context.abort(STATUS[error.code], error.detail, trailers)
        raise AssertionError("abort raises. This is a bug.")


def _group(answer: Answer) -> pb.Group | None:
    vote = answer.vote
    return pb.Group(name=vote.group, votes=vote.votes, of=vote.voters) if vote else None


def _response(request_id: str, classified: Classified, answer: Answer) -> pb.ClassifyResponse:
    return pb.ClassifyResponse(
        id=request_id,
        model=classified.model,
        version=classified.version,
        predictions=[
            pb.Prediction(index=best.index, id=best.id, label=best.label, probability=best.probability)
            for best in answer.predictions
        ],
        group=_group(answer),
        timing=pb.Timing(
            decode_ms=answer.decode_ms,
            queue_ms=answer.queue_ms,
            infer_ms=answer.infer_ms,
            total_ms=answer.total_ms,
            batch=answer.batch,
        ),
    )


def _model(entry: Entry) -> pb.Model:
    model = pb.Model(name=entry.name, version=entry.version, state=entry.state.value, reason=entry.reason)
    if entry.ready:
        manifest, engine = entry.ready.loaded.bundle.manifest, entry.ready.loaded.engine
        model.classes, model.label_set = manifest.labels.classes, manifest.labels.set
        model.height, model.width = manifest.preprocessing.height, manifest.preprocessing.width
        model.engine, model.precision = engine.name, engine.precision
    return model
