"""ClassifyService: the calls of `sesame.v1.ImageClassifier`. On the event loop."""

import time
from typing import ClassVar

from explain.explanation import Wanted
from server.errors import Code, ServingError
from server.explaining.explainer import Explainer
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.registry.allowed import seen_by
from server.registry.catalogue import Catalogue
from server.rpc import messages, requests
from server.rpc.call import Call
from server.rpc.calls import Calls, Method, parser
from server.rpc.explanations import explain_response
from server.rpc.requests import PhotoRequest
from server.rpc.streams import Streams
from server.service import RequestOptions


class ClassifyService:
    NAME: ClassVar[str] = "sesame.v1.ImageClassifier"

    def __init__(self, calls: Calls, catalogue: Catalogue, explainer: Explainer | None) -> None:
        self._calls = calls
        self._explainer = explainer
        self._catalogue = catalogue
        self._photos = Streams(
            calls.classifier,
            calls.receiver,
            calls.outcomes,
            calls.budget,
            calls.classifier.limits.max_images,
            _parse_with_size,
            self._answer_streamed,
            calls.peers,
            calls.journal,
            access=calls.access,
        )

    def methods(self) -> dict[str, Method]:
        """By the names of their methods."""
        explain = {"Explain": self._calls.unary(requests.parse_explain, self._explain, counted=True)}
        return {
            **(explain if self._explainer else {}),
            "Classify": self._calls.unary(requests.parse, self._classify, counted=True),
            "ClassifyStream": self._calls.streaming(self._photos),
            "ListModels": self._calls.unary(parser(pb.ListModelsRequest), self._list_models),
        }

    def leave(self) -> None:
        """Read no more photos of streams."""
        self._photos.leave()

    async def _classify(self, request: PhotoRequest, call: Call) -> pb.ClassifyResponse:
        return await self._answer(request, self._options(request, call))

    async def _explain(self, request: tuple[PhotoRequest, Wanted], call: Call) -> pb.ExplainResponse:
        assert self._explainer, "without it the method is not offered. This is a bug."
        photo, wanted = request
        _require_image(photo)
        explained = await self._explainer.explain(photo.image, self._options(photo, call), wanted)
        return explain_response(photo.id, explained)

    async def _list_models(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        return messages.models(seen_by(self._catalogue, call.exchange.key))

    async def _answer_streamed(self, request: PhotoRequest, call: Call) -> pb.StreamResponse:
        options = self._options(request, call, patient=True)
        try:
            answered = await self._calls.outcomes.count(self._answer(request, options))
            return pb.StreamResponse(id=request.id, answer=answered)
        except ServingError as error:
            call.failed(error)
            return pb.StreamResponse(id=request.id, error=pb.Error(code=error.code.value, detail=error.detail))

    def _options(self, request: PhotoRequest, call: Call, patient: bool = False) -> RequestOptions:
        caller = self._calls.callers.of(call.context, request.priority)
        return request.options(caller, call, patient)

    async def _answer(self, request: PhotoRequest, options: RequestOptions) -> pb.ClassifyResponse:
        _require_image(request)
        classified = await self._calls.classifier.classify([request.image], options)
        options.exchange.answered_at_s = began_s = time.monotonic()
        response = messages.response(request.id, classified)
        classified.ready.metrics.took("respond", time.monotonic() - began_s)
        return response


def _require_image(request: PhotoRequest) -> None:
    if not request.image:
        raise ServingError(Code.MALFORMED, "The field 'image' is empty: send a photo in it.")


def _parse_with_size(serialized: bytes) -> tuple[PhotoRequest, int]:
    request = requests.parse(serialized)
    return request, len(request.image)
