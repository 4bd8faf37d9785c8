"""Our contract of the Open Inference Protocol beside that of Triton's own client: all that we have is theirs."""

import base64
import json
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from server.pb.inference import grpc_service_pb2, model_config_pb2
from tests.support import environments

LEFT_OUT = {"TraceSetting", "LogSettings"}

_SCRIPT = """
import base64, json
from tritonclient.grpc import model_config_pb2, service_pb2
files = [each.DESCRIPTOR.serialized_pb for each in (service_pb2, model_config_pb2)]
print(json.dumps([base64.b64encode(file).decode() for file in files]))
"""


@pytest.fixture(scope="module")
def theirs() -> list[FileDescriptorProto]:
    printed = json.loads(environments.run("client", "-c", _SCRIPT))
    return [FileDescriptorProto.FromString(base64.b64decode(each)) for each in printed]


@pytest.fixture
def ours() -> list[FileDescriptorProto]:
    modules = (grpc_service_pb2, model_config_pb2)
    return [FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in modules]


def test_every_message_field_enum_and_call_of_ours_is_tritons(
    ours: list[FileDescriptorProto], theirs: list[FileDescriptorProto]
) -> None:
    assert len(_facts(ours)) > 200
    assert _facts(ours) - _facts(theirs) == set()


def test_only_calls_for_traces_and_logs_are_left_out(
    ours: list[FileDescriptorProto], theirs: list[FileDescriptorProto]
) -> None:
    assert _calls(theirs) - _calls(ours) == LEFT_OUT


def test_every_message_of_the_service_has_all_fields_of_tritons(
    ours: list[FileDescriptorProto], theirs: list[FileDescriptorProto]
) -> None:
    missing = _facts(theirs[:1]) - _facts(ours[:1])
    assert {fact for fact in missing if not any(name in fact for name in LEFT_OUT)} == set()


@pytest.mark.parametrize("fault", ["number", "type", "label", "name", "oneof", "enum", "call"])
def test_a_planted_difference_is_found(fault: str, ours: list[FileDescriptorProto]) -> None:
    sound = _facts(ours)
    service, config = ours
    parameter = _message(service, "InferParameter")
    if fault == "number":
        parameter.field[0].number = 9
    elif fault == "type":
        parameter.field[1].type = FieldDescriptorProto.TYPE_INT32
    elif fault == "label":
        parameter.field[1].label = FieldDescriptorProto.LABEL_REPEATED
    elif fault == "name":
        parameter.field[0].name = "boolean_param"
    elif fault == "oneof":
        parameter.field[0].ClearField("oneof_index")
    elif fault == "enum":
        config.enum_type[0].value[1].number = 99
    else:
        service.service[0].method[0].server_streaming = True
    assert len(_facts(ours) - sound) == 1


def _facts(files: list[FileDescriptorProto]) -> set[str]:
    """One line for each message, field, enum value and call, with all that the wire format depends on."""
    found: set[str] = set()
    for file in files:
        found |= {fact for message in file.message_type for fact in _of_message(f".{file.package}", message)}
        found |= {fact for enum in file.enum_type for fact in _of_enum(f".{file.package}", enum)}
        for service in file.service:
            for call in service.method:
                arrow = f"{call.client_streaming} {call.input_type} -> {call.server_streaming} {call.output_type}"
                found.add(f".{file.package}.{service.name}/{call.name} {arrow}")
    return found


def _of_message(above: str, message: DescriptorProto) -> Iterator[str]:
    name = f"{above}.{message.name}"
    yield f"{name}, map {message.options.map_entry}"
    for field in message.field:
        one_of = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "-"
        kind = f"{field.label} {field.type} {field.type_name} in {one_of} {field.proto3_optional} {field.options}"
        yield f"{name}.{field.name} = {field.number} {kind}"
    for nested in message.nested_type:
        yield from _of_message(name, nested)
    for enum in message.enum_type:
        yield from _of_enum(name, enum)


def _of_enum(above: str, enum: EnumDescriptorProto) -> Iterator[str]:
    for value in enum.value:
        yield f"{above}.{enum.name}.{value.name} = {value.number}"


def _calls(files: list[FileDescriptorProto]) -> set[str]:
    return {call.name for file in files for service in file.service for call in service.method}


def _message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    return next(message for message in file.message_type if message.name == name)
