"""Body: the JSON and the binary tensors of `POST …/infer`, as an InferRequest."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import msgspec

from server.errors import Code, ServingError
from server.openinference import parameters
from server.openinference.inputs import check_values
from server.openinference.request import IMAGE, InferRequest, InputTensor, RegionPart, WantedOutput
from server.scheduling.fair_queue import Priority

_MOST_FIELDS = 1000  # far more than tensors and their parameters have


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


_Number = Annotated[int, msgspec.Meta(ge=0, le=255)]

_DECODER = msgspec.json.Decoder(_Request)
_TEXTS = msgspec.json.Decoder(list[str])
_ROWS_OF_TEXTS = msgspec.json.Decoder(list[list[str]])
_NUMBERS = msgspec.json.Decoder(list[_Number])
_PICTURES = msgspec.json.Decoder(list[list[list[list[_Number]]]])  # image, line, pixel, channel


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
    """What is counted before would take long to read, and no other thread may run meanwhile."""
    text = bytes(text)
    check_values(text.count(b","))
    if text.count(b":") > _MOST_FIELDS:
        raise ServingError(Code.MALFORMED, f"The JSON has more than {_MOST_FIELDS} fields: it is no inference request.")
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
    """The content of a tensor whose values are in the JSON, in one list or in lists of its shape."""
    try:
        if tensor.datatype == "BYTES":
            return list(map(_file, _texts(tensor)))
        if tensor.datatype == "UINT8" and len(tensor.shape) == 4:
            return bytes(_numbers(tensor))
        return b""  # `images` refuses it for its datatype or its shape
    except (msgspec.MsgspecError, ValueError, RecursionError):
        wanted = "strings" if tensor.datatype == "BYTES" else "whole numbers from 0 to 255"
        raise ServingError(
            Code.MALFORMED, f"The data of '{tensor.name[:64]}' must be {wanted}, in one list or in lists of its shape."
        ) from None


def _texts(tensor: _Input) -> Iterable[str]:
    """Raises ValueError or what msgspec raises."""
    if _is_nested(tensor, lists=1 + tensor.shape[0] if tensor.shape else 0):
        return chain.from_iterable(_ROWS_OF_TEXTS.decode(tensor.data))
    return _TEXTS.decode(tensor.data)


def _numbers(tensor: _Input) -> Iterable[int]:
    """Raises ValueError or what msgspec raises."""
    images, height, width, _ = tensor.shape
    if _is_nested(tensor, lists=1 + images * (1 + height * (1 + width))):
        lines = chain.from_iterable(_PICTURES.decode(tensor.data))
        return chain.from_iterable(chain.from_iterable(lines))
    return _NUMBERS.decode(tensor.data)


def _is_nested(tensor: _Input, lists: int) -> bool:
    """Whether the data are in so many lists, rather than in one. Raises ValueError for another number."""
    found = bytes(tensor.data).count(b"[")
    if found not in (1, lists):
        raise ValueError
    return found > 1


def _file(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ServingError(
            Code.MALFORMED,
            f"JSON has no bytes: the data of '{IMAGE}' must be base64. Or send it in binary, after the JSON.",
        ) from None
