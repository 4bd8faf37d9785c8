"""Inference: one request of the Open Inference Protocol, from its tensors to its output."""

import numpy as np

from bundle import predictions
from server.answers import Inferred
from server.errors import Code, ServingError
from server.exchange import Exchange
from server.openinference.inputs import images
from server.openinference.regions import Regions
from server.openinference.request import InferRequest, InferResponse, InputTensor, RegionPart
from server.registry.loader import ReadyModel
from server.scheduling.fair_queue import Caller
from server.scheduling.threads import Threads
from server.service import Classifier, RequestOptions

_ON_LOOP_BYTES = 1 << 20  # more of a region is read in a thread
_ON_LOOP_CLASSES = 1000  # more are sorted and written in a thread


class Inference:
    """Runs on the event loop. Every face of a process has the same one."""

    def __init__(self, classifier: Classifier, regions: Regions, aside: Threads) -> None:
        """`aside` does what would hold up the event loop."""
        self.regions = regions
        self._classifier = classifier
        self._aside = aside

    async def infer(
        self, request: InferRequest, caller: Caller, deadline_s: float, exchange: Exchange, patient: bool = False
    ) -> tuple[InferResponse, ReadyModel]:
        """The response, and the model that computed it. The time limit of the request may only be shorter than the
        deadline. Raises ServingError, also for an error of one image.
        """
        if request.timeout_s is not None:
            deadline_s = min(deadline_s, self._classifier.deadline_s(request.timeout_s))
        if request.output.region:
            self.regions.get(request.output.region.region)  # before any work
        inputs = [await self._read(each) for each in request.inputs]
        given = images(inputs, self._classifier.limits.max_images)
        options = RequestOptions(deadline_s, caller, request.model, request.version, patient=patient, exchange=exchange)
        inferred = await self._classifier.infer(given, options)
        return await self._response(request, inferred), inferred.ready

    async def _read(self, tensor: InputTensor) -> InputTensor:
        """The tensor with its content, also if that is in shared memory."""
        part = tensor.content
        if not isinstance(part, RegionPart):
            return tensor
        if part.size_bytes > self._classifier.limits.max_request_bytes:
            limit = self._classifier.limits.max_request_bytes
            raise ServingError(Code.TOO_LARGE, f"The input '{tensor.name[:64]}' is too large: at most {limit} bytes.")
        if part.size_bytes > _ON_LOOP_BYTES:
            content = await self._aside.run(self.regions.read, part)
        else:
            content = self.regions.read(part)
        return InputTensor(tensor.name, tensor.datatype, tensor.shape, content)

    async def _response(self, request: InferRequest, inferred: Inferred) -> InferResponse:
        manifest = inferred.ready.loaded.bundle.manifest
        values = np.stack(inferred.probabilities())
        response = InferResponse(manifest.name, manifest.version, request.id, values)
        if request.output.region:
            return self._written(response, request.output.region)
        if not request.output.classes:
            return response
        if len(values) * min(request.output.classes, values.shape[1]) > _ON_LOOP_CLASSES:
            return await self._aside.run(_as_text, response, inferred.ready, request.output.classes)
        return _as_text(response, inferred.ready, request.output.classes)

    def _written(self, response: InferResponse, part: RegionPart) -> InferResponse:
        content = response.raw()
        self.regions.write(part, content)
        written = RegionPart(part.region, part.offset, len(content))
        return InferResponse(response.model, response.version, response.id, response.values, written)


def _as_text(response: InferResponse, ready: ReadyModel, classes: int) -> InferResponse:
    """The best classes as `probability:index:label`, as Triton's classification extension writes them."""
    labels = ready.loaded.bundle.labels
    assert not isinstance(response.values, list)
    rows = [
        [f"{best.probability:.6f}:{best.index}:{best.label}" for best in predictions.top(row, labels, classes)]
        for row in response.values
    ]
    return InferResponse(response.model, response.version, response.id, rows)
