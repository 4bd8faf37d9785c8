"""Photos: the answer to one photo of a call."""

import time

from server.errors import Code, ServingError
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.rpc import messages
from server.rpc.requests import PhotoRequest
from server.service import Classifier, RequestOptions


async def answer_photo(classifier: Classifier, request: PhotoRequest, options: RequestOptions) -> pb.ClassifyResponse:
    """Raises ServingError."""
    if not request.image:
        raise ServingError(Code.MALFORMED, "The field 'image' is empty: send a photo in it.")
    classified = await classifier.classify([request.image], options)
    began_s = time.monotonic()
    response = messages.response(request.id, classified)
    classified.ready.metrics.took("respond", time.monotonic() - began_s)
    return response
