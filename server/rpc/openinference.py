"""OpenInferenceService: the calls of `inference.GRPCInferenceService`, Triton's service. On the event loop."""

import time
from typing import ClassVar

from google.protobuf import json_format
from google.protobuf.message import Message

from server.errors import ServingError
from server.openinference.open_inference import OpenInference
from server.openinference.request import InferRequest
from server.pb.inference import grpc_service_pb2 as pb
from server.rpc import tensors
from server.rpc.call import Call
from server.rpc.caller_key import secret_in
from server.rpc.calls import Calls, Method, parser
from server.rpc.streams import Streams


class OpenInferenceService:
    NAME: ClassVar[str] = "inference.GRPCInferenceService"

    def __init__(self, calls: Calls, protocol: OpenInference) -> None:
        self._calls = calls
        self._protocol = protocol
        self._streams = Streams(
            calls.classifier,
            calls.receiver,
            calls.outcomes,
            calls.budget,
            calls.classifier.limits.max_images,
            _parse_with_size,
            self._infer_streamed,
            calls.peers,
            calls.journal,
            in_order=True,  # as Triton does: its clients match answers by their place
            access=calls.access,
        )

    def methods(self) -> dict[str, Method]:
        """By the names of their methods."""
        unary = self._calls.unary
        return {
            "ServerLive": unary(parser(pb.ServerLiveRequest), self._server_live, open=True),
            "ServerReady": unary(parser(pb.ServerReadyRequest), self._server_ready, open=True),
            "ModelReady": unary(parser(pb.ModelReadyRequest), self._model_ready),
            "ServerMetadata": unary(parser(pb.ServerMetadataRequest), self._server_metadata),
            "ModelMetadata": unary(parser(pb.ModelMetadataRequest), self._model_metadata),
            "ModelConfig": unary(parser(pb.ModelConfigRequest), self._model_config),
            "ModelStatistics": unary(parser(pb.ModelStatisticsRequest), self._statistics),
            "ModelInfer": unary(tensors.parse, self._infer, counted=True),
            "ModelStreamInfer": self._calls.streaming(self._streams),
            "RepositoryIndex": unary(parser(pb.RepositoryIndexRequest), self._index),
            "RepositoryModelLoad": unary(parser(pb.RepositoryModelLoadRequest), self._load),
            "RepositoryModelUnload": unary(parser(pb.RepositoryModelUnloadRequest), self._unload),
            "SystemSharedMemoryStatus": unary(parser(pb.SystemSharedMemoryStatusRequest), self._regions),
            "SystemSharedMemoryRegister": unary(parser(pb.SystemSharedMemoryRegisterRequest), self._register),
            "SystemSharedMemoryUnregister": unary(parser(pb.SystemSharedMemoryUnregisterRequest), self._unregister),
            "CudaSharedMemoryStatus": unary(parser(pb.CudaSharedMemoryStatusRequest), self._cuda_regions),
            "CudaSharedMemoryRegister": unary(parser(pb.CudaSharedMemoryRegisterRequest), self._register_cuda),
            "CudaSharedMemoryUnregister": unary(parser(pb.CudaSharedMemoryUnregisterRequest), self._unregister_cuda),
        }

    def leave(self) -> None:
        """Read no more requests of streams."""
        self._streams.leave()

    async def _server_live(self, request: pb.ServerLiveRequest, call: Call) -> Message:
        return pb.ServerLiveResponse(live=self._protocol.is_live)

    async def _server_ready(self, request: pb.ServerReadyRequest, call: Call) -> Message:
        return pb.ServerReadyResponse(ready=self._protocol.is_ready)

    async def _model_ready(self, request: pb.ModelReadyRequest, call: Call) -> Message:
        return pb.ModelReadyResponse(
            ready=self._protocol.is_model_ready(request.name, request.version, call.exchange.key)
        )

    async def _server_metadata(self, request: pb.ServerMetadataRequest, call: Call) -> Message:
        return json_format.ParseDict(self._protocol.server_metadata(), pb.ServerMetadataResponse())

    async def _model_metadata(self, request: pb.ModelMetadataRequest, call: Call) -> Message:
        metadata = self._protocol.model_metadata(request.name, request.version, call.exchange.key)
        return json_format.ParseDict(metadata, pb.ModelMetadataResponse())

    async def _model_config(self, request: pb.ModelConfigRequest, call: Call) -> Message:
        config = self._protocol.model_config(request.name, request.version, call.exchange.key)
        return json_format.ParseDict({"config": config}, pb.ModelConfigResponse())

    async def _statistics(self, request: pb.ModelStatisticsRequest, call: Call) -> Message:
        statistics = await self._protocol.statistics(request.name, request.version, call.exchange.key)
        return json_format.ParseDict(statistics, pb.ModelStatisticsResponse())

    async def _infer(self, request: InferRequest, call: Call) -> pb.ModelInferResponse:
        return await self._answer(request, call, patient=False)

    async def _index(self, request: pb.RepositoryIndexRequest, call: Call) -> Message:
        index = self._protocol.repository_index(request.ready, call.exchange.key)
        return json_format.ParseDict({"models": index}, pb.RepositoryIndexResponse())

    async def _load(self, request: pb.RepositoryModelLoadRequest, call: Call) -> Message:
        await self._protocol.load(request.model_name, list(request.parameters), secret_in(call.context))
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, request: pb.RepositoryModelUnloadRequest, call: Call) -> Message:
        await self._protocol.unload(request.model_name, secret_in(call.context))
        return pb.RepositoryModelUnloadResponse()

    async def _regions(self, request: pb.SystemSharedMemoryStatusRequest, call: Call) -> Message:
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self._protocol.region_status(request.name):
            status = response.regions[region.name]
            status.name, status.key = region.name, region.key
            status.offset, status.byte_size = region.offset, region.size_bytes
        return response

    async def _register(self, request: pb.SystemSharedMemoryRegisterRequest, call: Call) -> Message:
        self._protocol.regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def _unregister(self, request: pb.SystemSharedMemoryUnregisterRequest, call: Call) -> Message:
        self._protocol.regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def _cuda_regions(self, request: pb.CudaSharedMemoryStatusRequest, call: Call) -> Message:
        self._protocol.cuda_region_status(request.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def _register_cuda(self, request: pb.CudaSharedMemoryRegisterRequest, call: Call) -> Message:
        self._protocol.register_cuda_region()
        return pb.CudaSharedMemoryRegisterResponse()

    async def _unregister_cuda(self, request: pb.CudaSharedMemoryUnregisterRequest, call: Call) -> Message:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def _infer_streamed(self, request: InferRequest, call: Call) -> pb.ModelStreamInferResponse:
        try:
            answered = await self._calls.outcomes.count(self._answer(request, call, patient=True))
            return pb.ModelStreamInferResponse(infer_response=answered)
        except ServingError as error:
            call.failed(error)
            named = pb.ModelInferResponse(id=request.id, model_name=request.model)
            return pb.ModelStreamInferResponse(error_message=error.detail, infer_response=named)

    async def _answer(self, request: InferRequest, call: Call, patient: bool) -> pb.ModelInferResponse:
        caller = self._calls.callers.of(call.context, request.priority)
        response, ready = await self._protocol.inference.infer(request, caller, call.deadline_s, call.exchange, patient)
        call.exchange.answered_at_s = began_s = time.monotonic()
        message = tensors.message(response)
        ready.metrics.took("respond", time.monotonic() - began_s)
        return message


def _parse_with_size(serialized: bytes) -> tuple[InferRequest, int]:
    return tensors.parse(serialized), len(serialized)
