"""RpcFace: the gRPC server. Translates calls into calls of the service; decides nothing."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.errors import ServingError
from server.metrics import Metrics
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.receiving import Receipt, ReceiveBudget
from server.registry.catalogue import Catalogue
from server.rpc import messages
from server.rpc.callers import Callers
from server.rpc.outcomes import Outcomes
from server.rpc.photo_streams import PhotoStreams
from server.rpc.photos import answer_photo
from server.rpc.receiver import MessageReceiver
from server.rpc.server_options import server_options
from server.rpc.status import Context, abort
from server.scheduling.threads import Threads
from server.service import Classifier

_SERVICE = "sesame.v1.ImageClassifier"
_FIELDS_BYTES = 64 << 10
"""Most bytes of a request besides its image."""


class RpcFace:
    """One gRPC server over the service, with the standard health service and reflection. Runs on the event loop."""

    def __init__(
        self,
        classifier: Classifier,
        catalogue: Catalogue,
        metrics: Metrics,
        budget: ReceiveBudget,
        aside: Threads,
        max_connections: int,
        shared_port: bool = False,
    ) -> None:
        """`aside` parses large messages. `shared_port`: other processes may listen on the port too."""
        max_bytes = classifier.limits.max_image_bytes + _FIELDS_BYTES
        self._classifier = classifier
        self._catalogue = catalogue
        self._budget = budget
        self._callers = Callers()
        self._outcomes = Outcomes(metrics.face("grpc"))
        self._receiver = MessageReceiver(classifier, budget, aside, max_bytes)
        self._streams = PhotoStreams(classifier, self._callers, self._receiver, self._outcomes, budget, max_bytes)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=server_options(max_bytes, max_connections, shared_port))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def _handlers(self) -> grpc.GenericRpcHandler:
        """Classify is handled as a stream of one message: only then can the server decide when to receive it."""
        classify: Any = grpc.stream_unary_rpc_method_handler(self.classify, None, pb.ClassifyResponse.SerializeToString)
        stream: Any = grpc.stream_stream_rpc_method_handler(
            self._streams.classify_stream, None, pb.StreamResponse.SerializeToString
        )
        models = grpc.unary_unary_rpc_method_handler(
            self.list_models, pb.ListModelsRequest.FromString, pb.ListModelsResponse.SerializeToString
        )
        methods: dict[str, Any] = {"Classify": classify, "ClassifyStream": stream, "ListModels": models}
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError if it is taken."""
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
        """Accept no more calls, and no more photos of streams. Those accepted have `grace_s` to end."""
        self._streams.leave()
        self._receiver.end_receiving()
        await self._server.stop(grace_s)

    async def classify(self, _: AsyncIterator[pb.ClassifyRequest], context: Context) -> pb.ClassifyResponse:
        try:
            return await self._outcomes.count(self._classify(context))
        except ServingError as error:
            failed = error.fresh()  # it does not hold the photo while the answer is sent
        return await abort(context, failed)

    async def _classify(self, context: Context) -> pb.ClassifyResponse:
        deadline_s = self._classifier.deadline_s(context.time_remaining())
        with Receipt(self._budget) as receipt:
            request = await self._receiver.receive(context, receipt, deadline_s)
            caller = self._callers.of(context.peer(), request.priority)
            return await answer_photo(self._classifier, request, request.options(caller, deadline_s))

    async def list_models(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        return messages.models(self._catalogue)
