"""Records: dataclasses read from JSON, checked field by field."""

import dataclasses
import types
import typing
from typing import Any, TypeVar

from bundle.errors import BundleError

T = TypeVar("T")


class RecordError(BundleError):
    """JSON that does not match a dataclass. The message names the field; the caller knows the cure."""


def read(cls: type[T], data: object, where: str) -> T:
    """An instance of the dataclass from parsed JSON. Unknown keys are ignored; fields that may be None may be missing.

    Raises RecordError naming the field (`where.field`) that is missing or of another type. The dataclass itself may
    raise BundleError for values that it does not allow.
    """
    if not isinstance(data, dict):
        raise RecordError(f"{where} must be an object, not {type(data).__name__}.")
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name in data:
            values[field.name] = _value(hints[field.name], data[field.name], f"{where}.{field.name}")
        elif type(None) in typing.get_args(hints[field.name]):
            values[field.name] = None
        elif field.default is dataclasses.MISSING:
            raise RecordError(f"{where}.{field.name} is missing.")
    return cls(**values)


def _value(kind: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return read(typing.cast(type, kind), value, where)
    if origin in (types.UnionType, typing.Union):  # `X | None`
        return None if value is None else _value(arguments[0], value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise RecordError(f"{where} must be one of {', '.join(map(str, arguments))}, not {value!r}.")
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise RecordError(f"{where} must be an object.")
        return {str(key): _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecordError(f"{where} must be {kind.__name__}, not {value!r}.")
    return value


def _tuple(arguments: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise RecordError(f"{where} must be a list.")
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise RecordError(f"{where} must have {len(arguments)} entries, not {len(value)}.")
    return tuple(_value(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
