"""Body: the JSON and the binary tensors of `POST …/infer`, as an InferRequest."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from server.errors import Code, ServingError
from server.openinference import parameters
from server.openinference.inputs import check_values
from server.openinference.request import IMAGE, InferRequest, InputTensor, RegionPart, WantedOutput
from server.scheduling.fair_queue import Priority


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()  # empty: not given


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


_DECODER = msgspec.json.Decoder(_Request)


@dataclass(frozen=True, slots=True)
class Parsed:
    """`binary`: the client wants the output in the binary tensor extension."""

    request: InferRequest
    binary: bool


def parse(body: bytes, json_bytes: int | None, model: str, version: str) -> Parsed:
    """`json_bytes`: how many bytes of the body are JSON, as `Inference-Header-Content-Length` says; 0: none, and the
    body is one photo; None: all. Raises ServingError MALFORMED.
    """
    if json_bytes == 0:
        photo = InputTensor(IMAGE, "BYTES", [1], [body])
        return Parsed(InferRequest(model, version, [photo], WantedOutput(), Priority.INTERACTIVE, None), binary=True)
    if json_bytes is not None and json_bytes > len(body):
        raise ServingError(Code.MALFORMED, "Inference-Header-Content-Length is larger than the body.")
    text, tensors = (
        (body, b"") if json_bytes is None else (memoryview(body)[:json_bytes], memoryview(body)[json_bytes:])
    )
    given = _decoded(text)
    inputs = list(_inputs(given.inputs, memoryview(tensors)))
    outputs = {output.name: output.parameters for output in given.outputs}
    if len(outputs) < len(given.outputs):
        raise ServingError(Code.MALFORMED, "An output is named twice.")
    request = InferRequest(
        model,
        version,
        inputs,
        parameters.wanted_output(outputs),
        parameters.priority(given.parameters),
        parameters.timeout_s(given.parameters),
        given.id,
    )
    return Parsed(request, _wants_binary(given))


def _decoded(text: bytes | memoryview) -> _Request:
    check_values(bytes(text).count(b","))
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ServingError(Code.MALFORMED, f"The JSON is no inference request: {str(error)[:200]}.") from None


def _wants_binary(given: _Request) -> bool:
    for output in given.outputs:
        if "binary_data" in output.parameters:
            return parameters.flag(output.parameters, "binary_data")
    return parameters.flag(given.parameters, "binary_data_output")


def _inputs(given: list[_Input], tensors: memoryview) -> Iterator[InputTensor]:
    """`tensors`: the binary content after the JSON, one after another."""
    for each in given:
        content: memoryview | bytes | list[bytes] | RegionPart
        size = each.parameters.get("binary_data_size")
        part = parameters.region_part(each.parameters)
        if (size is not None) + (part is not None) + bool(each.data) != 1:
            raise ServingError(
                Code.MALFORMED,
                f"The input '{each.name[:64]}' must have one of data, binary_data_size and shared_memory_region.",
            )
        if size is not None:
            if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(tensors):
                raise ServingError(
                    Code.MALFORMED, f"binary_data_size of '{each.name[:64]}' and the length of the body do not match."
                )
            content, tensors = tensors[:size], tensors[size:]
        elif part is not None:
            content = part
        else:
            content = _content(each)
        yield InputTensor(each.name, each.datatype, each.shape, content)
    if len(tensors):
        raise ServingError(Code.MALFORMED, f"{len(tensors)} bytes follow the last input: say whose they are.")


def _content(tensor: _Input) -> bytes | list[bytes]:
    """The content of a tensor whose values are in the JSON, flat or nested."""
    if tensor.datatype == "BYTES":
        return [_file(text) for text in _flat(_values(tensor))]
    try:
        values = np.asarray(_values(tensor))
        whole = values.size == 0 or (values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 255)
    except ValueError:  # rows of different lengths
        whole = False
    if not whole:
        raise ServingError(Code.MALFORMED, f"The data of '{tensor.name[:64]}' must be whole numbers from 0 to 255.")
    return values.astype(np.uint8).tobytes()


def _values(tensor: _Input) -> Any:
    try:
        return msgspec.json.decode(tensor.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ServingError(Code.MALFORMED, f"The data of '{tensor.name[:64]}' cannot be read.") from None


def _flat(values: Any) -> Iterator[Any]:
    """The elements of a list, or of the lists in it."""
    for each in values if isinstance(values, list) else [values]:
        if isinstance(each, list):
            yield from each
        else:
            yield each


def _file(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ServingError(Code.MALFORMED, "An image in JSON must be a string in base64.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ServingError(
            Code.MALFORMED,
            f"JSON has no bytes: the data of '{IMAGE}' must be base64. Or send it in binary, after the JSON.",
        ) from None
