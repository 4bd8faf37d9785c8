"""Tensors: ModelInferRequest and ModelInferResponse to and from the protocol's own InferRequest and InferResponse."""

from collections.abc import Iterator, Mapping

import numpy as np

from server.errors import Code, ServingError
from server.openinference import parameters
from server.openinference.inputs import check_values
from server.openinference.request import PROBABILITIES, InferRequest, InferResponse, InputTensor, RegionPart
from server.pb.inference import grpc_service_pb2 as pb
from server.rpc.calls import parser

_parsed = parser(pb.ModelInferRequest)


def parse(serialized: bytes) -> InferRequest:
    """Raises ServingError MALFORMED."""
    message = _parsed(serialized)
    given = _values(message.parameters)
    outputs = {output.name: _values(output.parameters) for output in message.outputs}
    if len(outputs) < len(message.outputs):
        raise ServingError(Code.MALFORMED, "An output is named twice.")
    return InferRequest(
        message.model_name,
        message.model_version,
        list(_inputs(message)),
        parameters.wanted_output(outputs),
        parameters.priority(given),
        parameters.timeout_s(given),
        message.id,
    )


def message(response: InferResponse) -> pb.ModelInferResponse:
    """With its data in `raw_output_contents`, where Triton's clients look for them."""
    output = pb.ModelInferResponse.InferOutputTensor(
        name=PROBABILITIES, datatype=response.datatype, shape=response.shape
    )
    part = response.written
    if part:
        output.parameters["shared_memory_region"].string_param = part.region
        output.parameters["shared_memory_offset"].int64_param = part.offset
        output.parameters["shared_memory_byte_size"].int64_param = part.size_bytes
    return pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=[output],
        raw_output_contents=[] if part else [response.raw()],
    )


def _values(given: Mapping[str, pb.InferParameter]) -> dict[str, object]:
    return {name: getattr(each, each.WhichOneof("parameter_choice") or "", None) for name, each in given.items()}


def _inputs(message: pb.ModelInferRequest) -> Iterator[InputTensor]:
    """Each has its content in shared memory, or the next of `raw_input_contents`, or, without any of those, its own."""
    raw = list(message.raw_input_contents)
    has_raw = bool(raw)
    for tensor in message.inputs:
        content: bytes | list[bytes] | RegionPart
        part = parameters.region_part(_values(tensor.parameters))
        if part is not None:
            content = part
        elif not has_raw:
            content = _content(tensor)
        elif raw:
            content = raw.pop(0)
        else:
            raise ServingError(Code.MALFORMED, "raw_input_contents has fewer tensors than inputs.")
        yield InputTensor(tensor.name, tensor.datatype, list(tensor.shape), content)
    if raw:
        raise ServingError(Code.MALFORMED, "raw_input_contents has more tensors than inputs.")


def _content(tensor: pb.ModelInferRequest.InferInputTensor) -> bytes | list[bytes]:
    if tensor.datatype == "BYTES":
        return list(tensor.contents.bytes_contents)
    check_values(len(tensor.contents.uint_contents))
    values = np.array(tensor.contents.uint_contents, np.uint32)
    if values.size and values.max() > 255:
        raise ServingError(Code.MALFORMED, f"The data of '{tensor.name[:64]}' must be whole numbers from 0 to 255.")
    return values.astype(np.uint8).tobytes()
