"""Packed: the five messages of an image by hand with `struct`, to compare with `server.processes.wire.messages`."""

import struct
from collections.abc import Callable
from typing import Any

from server.processes.wire.messages import SIZE_BYTES, Granted, Message, Release, Reserve, Row, Rows, Submit

_HEAD = struct.Struct("<IB")  # the body's size, the tag
_NUMBER = struct.Struct("<Q")
_SUBMIT = struct.Struct("<HHH")
_RESERVE = struct.Struct("<QQQ??dddH")  # then the slots
_ROW = struct.Struct("<HddI")


def encode(message: Message) -> bytes:
    """The message's frame."""
    tag, pack, _ = _KINDS[type(message)]
    body = pack(message)
    return _HEAD.pack(len(body) + 1, tag) + body


def feed(data: bytes) -> list[Message]:
    """The messages of whole frames. It checks nothing."""
    messages = []
    at = 0
    while at < len(data):
        size_bytes, tag = _HEAD.unpack_from(data, at)
        messages.append(_UNPACK[tag](data, at + _HEAD.size, at + SIZE_BYTES + size_bytes))
        at += SIZE_BYTES + size_bytes
    return messages


def _pack_reserve(message: Reserve) -> bytes:
    slots = message.slots
    head = _RESERVE.pack(
        message.request,
        message.load,
        message.caller,
        message.bulk,
        message.patient,
        message.deadline_s,
        message.decoded_first_s,
        message.decoded_all_s,
        len(slots),
    )
    return head + struct.pack(f"<{len(slots)}H", *slots)


def _unpack_reserve(data: bytes, at: int, end: int) -> Reserve:
    request, load, caller, bulk, patient, deadline_s, first_s, all_s, slots = _RESERVE.unpack_from(data, at)
    numbers = list(struct.unpack_from(f"<{slots}H", data, at + _RESERVE.size))
    return Reserve(request, load, numbers, caller, bulk, patient, deadline_s, first_s, all_s)


def _pack_rows(message: Rows) -> bytes:
    return b"".join(_ROW.pack(row.slot, row.queue_s, row.infer_s, row.batch) for row in message.rows)


def _unpack_rows(data: bytes, at: int, end: int) -> Rows:
    return Rows([Row(*fields) for fields in _ROW.iter_unpack(data[at:end])])


_KINDS: dict[type[Message], tuple[int, Callable[[Any], bytes], Callable[[bytes, int, int], Message]]] = {
    Reserve: (2, _pack_reserve, _unpack_reserve),
    Submit: (
        4,
        lambda message: _SUBMIT.pack(message.slot, message.height, message.width),
        lambda data, at, end: Submit(*_SUBMIT.unpack_from(data, at)),
    ),
    Release: (
        7,
        lambda message: struct.pack(f"<{len(message.slots)}H", *message.slots),
        lambda data, at, end: Release(list(struct.unpack_from(f"<{(end - at) // 2}H", data, at))),
    ),
    Granted: (
        33,
        lambda message: _NUMBER.pack(message.request),
        lambda data, at, end: Granted(*_NUMBER.unpack_from(data, at)),
    ),
    Rows: (35, _pack_rows, _unpack_rows),
}
_UNPACK = {tag: unpack for tag, _, unpack in _KINDS.values()}
