"""Answers: what the protocol answers, as HTTP responses."""

from typing import Any

import msgspec
from starlette.responses import Response

from server.errors import ServingError
from server.openinference.request import PROBABILITIES, InferResponse
from server.rest.openinference import compression
from server.rest.problems import ErrorResponse

JSON_BYTES = "Inference-Header-Content-Length"
"""The header of a message whose body is JSON of that length and then binary tensors."""


class JsonResponse(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


class InferenceError(ErrorResponse):
    """An error as the protocol's clients read it."""

    media_type = "application/json"

    def content(self, error: ServingError) -> bytes:
        detail = error.detail.encode("utf-8", "replace").decode()  # it may quote half a surrogate pair
        return msgspec.json.encode({"error": detail})


def infer_response(response: InferResponse, binary: bool, accept_encoding: str) -> Response:
    """With its tensor after the JSON where `binary` is set, else inside of it."""
    output: dict[str, Any] = {"name": PROBABILITIES, "datatype": response.datatype, "shape": response.shape}
    tensor = b""
    if part := response.written:
        output["parameters"] = {
            "shared_memory_region": part.region,
            "shared_memory_offset": part.offset,
            "shared_memory_byte_size": part.size_bytes,
        }
    elif binary:
        tensor = response.raw()
        output["parameters"] = {"binary_data_size": len(tensor)}
    else:  # without `parameters`: the C++ client expects binary_data_size in them
        values = response.values
        output["data"] = (
            [text for row in values for text in row] if isinstance(values, list) else values.ravel().tolist()
        )
    text = msgspec.json.encode(_head(response) | {"outputs": [output]})
    content, headers = compression.deflated(text + tensor, accept_encoding)
    if binary:
        headers[JSON_BYTES] = str(len(text))
    return Response(content, 200, headers, "application/octet-stream" if binary else "application/json")


def _head(response: InferResponse) -> dict[str, Any]:
    head = {"model_name": response.model, "model_version": response.version}
    return {**head, "id": response.id} if response.id else head
