"""The bytes of each message, and what of a hostile stream is read as one."""

import itertools
import struct
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import Code
from server.processes.wire.errors import LinkError
from server.processes.wire.frames import Frames, frames_to_core, frames_to_front
from server.processes.wire.messages import (
    FRAME_BYTES,
    Answer,
    Ask,
    Cancel,
    Catalogue,
    Collect,
    Extend,
    Failed,
    Granted,
    Hello,
    Message,
    Offer,
    Prepared,
    Refused,
    Release,
    Reserve,
    Retired,
    Row,
    Rows,
    Samples,
    Submit,
    ToCore,
    ToFront,
    Version,
    Welcome,
    Withdraw,
    encode,
)
from server.registry.target import Share, Target

HALF = "cb3fe0000000000000"  # 0.5
ONE = "cb3ff0000000000000"
TWO = "cb4000000000000000"
ZERO = "cb0000000000000000"
MODEL, VERSION, VERSIONS = "a56d6f64656c", "a776657273696f6e", "a876657273696f6e73"
WEIGHT, SHADOW = "a6776569676874", "a6736861646f77"
PARITY = (2, 0.5, 1.0, 1.0, 2.0)

GOLDENS: list[tuple[Message, str]] = [
    (Hello(1, 1024, 4 << 20), "0b000000 94 01 01 cd0400 ce00400000"),
    (
        Reserve(7, 5, [2, 300], 9, False, True, 1.0, 0.5, 2.0, "k"),
        f"29000000 9b 02 07 05 92 02 cd012c 09 c2 c3 {ONE} {HALF} {TWO} a16b",
    ),
    (Cancel(7), "03000000 92 03 07"),
    (Submit(2, 224, 320), "0a000000 95 04 02 cce0 cd0140 c400"),
    (Submit(2, 224, 320, b"t" * 24), "22000000 95 04 02 cce0 cd0140 c418" + "74" * 24),
    (Withdraw(2), "03000000 92 05 02"),
    (Extend(2, 1.0), f"0c000000 93 06 02 {ONE}"),
    (Release([2, 3]), "05000000 92 07 92 02 03"),
    (Prepared(5, ""), "04000000 93 08 05 a0"),
    (Ask(7, "load", "demo", "1"), "10000000 96 09 07 a46c6f6164 a464656d6f a131 c0"),
    (
        Ask(7, "set_alias", "a", "", Target("demo", "1")),
        f"38000000 96 09 07 a97365745f616c696173 a161 a0 84 {MODEL} a464656d6f {VERSION} a131"
        f" {VERSIONS} 90 {SHADOW} a0",
    ),
    (Ask(7, "metrics", ""), "0e000000 96 09 07 a76d657472696373 a0 a0 c0"),
    (Samples(7, b"x"), "06000000 93 0a 07 c40178"),
    (Welcome(1), "03000000 92 20 01"),
    (Granted(7), "03000000 92 21 07"),
    (
        Refused(7, Code.QUEUE_FULL, "no", 0.5),
        f"1a000000 95 22 07 aa71756575655f66756c6c a26e6f {HALF}",
    ),
    (Refused(7, Code.DEADLINE, "no", None), "10000000 95 22 07 a8646561646c696e65 a26e6f c0"),
    (
        Rows([Row(2, 0.5, 1.0, 8)]),
        f"18000000 92 23 91 94 02 {HALF} {ONE} 08",
    ),
    (
        Failed(2, Code.ENGINE_FAILED, "broke"),
        "17000000 94 24 02 ad656e67696e655f6661696c6564 a562726f6b65",
    ),
    (Retired(7), "03000000 92 29 07"),
    (Offer(5, "/m"), "06000000 93 25 05 a22f6d"),
    (Catalogue(True, [], {}), "05000000 94 26 c3 90 80"),
    (
        Catalogue(False, [Version("demo", "1", "/m", "FAILED", "no")], {"a": Target("demo")}),
        "71000000 94 26 c2 91 9e a464656d6f a131 a22f6d a64641494c4544 a26e6f 00 c2 a0 a0 a0 a0 00 00"
        f" 95 00 {ZERO * 4} 81 a161 84 {MODEL} a464656d6f {VERSION} a0 {VERSIONS} 90 {SHADOW} a0",
    ),
    (
        Catalogue(True, [], {"a": Target("m", "", (Share("1", 98.0), Share("2", 2.0)), "3")}),
        f"62000000 94 26 c3 90 81 a161 84 {MODEL} a16d {VERSION} a0 {VERSIONS} 92 82 {VERSION} a131 {WEIGHT}"
        f" cb4058800000000000 82 {VERSION} a132 {WEIGHT} {TWO} {SHADOW} a133",
    ),
    (
        Catalogue(True, [Version("m", "1", "", "READY", "", 5, True, "e", "p", "w", "cpu", 1, 8, PARITY)], {}),
        "46000000 94 26 c3 91 9e a16d a131 a0 a55245414459 a0 05 c3 a165 a170 a177 a3637075 01 08"
        f" 95 02 {HALF} {ONE} {ONE} {TWO} 80",
    ),
    (Answer(7), "07000000 95 27 07 90 c3 c400"),
    (Answer(7, [("m", "1")], False, b"x"), "0d000000 95 27 07 91 92 a16d a131 c2 c40178"),
    (Collect(7), "03000000 92 28 07"),
]
BOTH = Frames[Message](ToCore | ToFront)


def frames_for(message: Message) -> Frames[ToCore] | Frames[ToFront]:
    return frames_to_core() if isinstance(message, get_args(ToCore)) else frames_to_front()


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def array(*fields: object) -> bytes:
    return frame(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize(("message", "wanted"), GOLDENS, ids=lambda value: type(value).__name__)
def test_the_bytes_of_a_message_are_these_and_mean_it(message: Message, wanted: str) -> None:
    assert encode(message).hex() == wanted.replace(" ", "")
    assert frames_for(message).feed(bytes.fromhex(wanted)) == [message]


def test_every_message_has_its_bytes_above_and_a_tag_of_its_own() -> None:
    kinds = [*get_args(ToCore), *get_args(ToFront)]
    assert {type(message) for message, _ in GOLDENS} == set(kinds)
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(tags)) == len(kinds)
    assert {kind.__name__ for kind in Message.__subclasses__()} == {kind.__name__ for kind in kinds}


stream = st.lists(st.sampled_from([message for message, _ in GOLDENS]), min_size=1, max_size=12)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % len(data) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(at)]


@settings(deadline=None)
@given(stream, st.lists(st.integers(0, 1 << 16), max_size=30))
def test_however_the_stream_is_split_the_messages_are_the_same(sent: list[Message], cuts: list[int]) -> None:
    frames = Frames[Message](ToCore | ToFront)
    pieces = split(b"".join(encode(message) for message in sent), cuts)
    assert [message for piece in pieces for message in frames.feed(piece)] == sent
    assert not frames.torn


@settings(deadline=None)
@given(stream, st.integers(1, 1 << 16))
def test_a_stream_that_ends_within_a_frame_is_torn(sent: list[Message], cut: int) -> None:
    frames = Frames[Message](ToCore | ToFront)
    last = encode(sent[-1])
    data = b"".join(encode(message) for message in sent[:-1]) + last[: 1 + cut % (len(last) - 1)]
    assert frames.feed(data) == sent[:-1]
    assert frames.torn


@settings(deadline=None)
@given(stream)
def test_reading_only_the_missing_bytes_takes_nothing_of_the_next_message(sent: list[Message]) -> None:
    frames = Frames[Message](ToCore | ToFront)
    data = b"".join(encode(message) for message in sent)
    found = []
    while data:
        piece, data = data[: frames.missing_bytes], data[frames.missing_bytes :]
        new = frames.feed(piece)
        assert len(new) <= 1
        found += new
    assert found == sent


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_random_bytes_are_an_error_of_the_link_and_of_no_other_kind(pieces: list[bytes]) -> None:
    frames = frames_to_core()
    try:
        for piece in pieces:
            frames.feed(piece)
    except LinkError:
        pass


@settings(deadline=None)
@given(stream, st.integers(0, 1 << 16), st.integers(1, 255))
def test_a_changed_byte_gives_messages_or_an_error_of_the_link(sent: list[Message], at: int, by: int) -> None:
    data = bytearray(b"".join(encode(message) for message in sent))
    data[at % len(data)] ^= by
    try:
        for message in Frames[Message](ToCore | ToFront).feed(bytes(data)):
            assert BOTH.feed(encode(message)) == [message]
    except LinkError:
        pass


@pytest.mark.parametrize(
    "wrong",
    [
        frame(b""),
        frame(b"\xc1"),  # no MessagePack
        frame(b"\x91" * 5000),  # deep
        frame(b"\x92\x07\xdd\xff\xff\xff\xff"),  # an array of 4 billion slots
        frame(b"\x92\x03\x07\x00"),  # more after the message
        frame(b"\x95\x09\x07\xa1\xff\xa0\xa0"),  # a text that is not UTF-8
        array(),
        array(99, 1),
        array(33, 7),  # Granted, which goes the other way
        array(3),
        array(3, 7, 7),
        array(3, "7"),
        array(3, -1),
        array(3, 7.5),
        array(3, True),
        array(4, 1 << 16, 1, 1),
        array(4, 0, 0, 1),
        array(4, 0, 1, 1 << 16),
        array(6, 0, float("nan")),
        array(6, 0, -1.0),
        array(7, []),
        array(7, [-1]),
        array(7, [0] * ((1 << 16) + 1)),
        array(1, 1, 0, 4 << 20),
        array(2, 7, -5, [0], 9, False, False, 1.0, 0.5, 0.5),
        array(2, 7, 5, [], 9, False, False, 1.0, 0.5, 0.5),
        array(2, 7, 5, [0], 9, False, False, float("nan"), 0.5, 0.5),
        array(9, 7, "shutdown", "", "", ""),
    ],
)
def test_what_is_no_message_to_the_core_is_an_error_of_the_link(wrong: bytes) -> None:
    good = encode(Cancel(7))
    assert frames_to_core().feed(good) == [Cancel(7)]
    with pytest.raises(LinkError, match="cannot be read"):
        frames_to_core().feed(good + wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        array(34, 7, "no_such_code", "", None),
        array(35, []),
        array(35, [[1, 0.0, 0.0]]),
        array(38, True, [["m", "1", "", "READY", "", -1]], {}),
        array(38, True, [], {"a": ["m"]}),
        array(39, 7, [["m"]], True, b""),
    ],
)
def test_what_is_no_message_to_a_front_is_an_error_of_the_link(wrong: bytes) -> None:
    with pytest.raises(LinkError, match="cannot be read"):
        frames_to_front().feed(wrong)


def test_a_frame_that_is_too_long_is_refused_by_its_length_alone() -> None:
    largest = FRAME_BYTES - 4
    assert frames_to_core().feed(struct.pack("<I", largest)) == []
    with pytest.raises(LinkError, match="longer"):
        frames_to_core().feed(struct.pack("<I", largest + 1))


def test_the_largest_message_is_sent_and_a_larger_one_is_not() -> None:
    room = FRAME_BYTES - len(encode(Samples(7, bytes(1 << 16)))) + (1 << 16)
    message = Samples(7, bytes(room))
    assert len(encode(message)) == FRAME_BYTES
    assert frames_to_core().feed(encode(message)) == [message]
    with pytest.raises(ValueError, match="split it"):
        encode(Samples(7, bytes(room + 1)))


def test_a_large_message_in_small_pieces_is_read_once() -> None:
    frames = frames_to_core()
    data = encode(Samples(7, bytes(FRAME_BYTES // 2)))
    found = [message for at in range(0, len(data), 64) for message in frames.feed(data[at : at + 64])]
    assert found == [Samples(7, bytes(FRAME_BYTES // 2))]
