"""Messages: what fronts and the core tell each other, as frames of a byte stream.

A frame is the length of its body, 4 bytes little-endian, and the body: a MessagePack array of the message's tag and
fields; what an alias stands for is a map in it. A tag is never used again for another message. Times are of
CLOCK_MONOTONIC, which all processes of a machine share (`time.monotonic`). A slot's number stands for its permit;
`request` and `offer` number what their sender asks.
"""

from typing import Annotated, Literal

import msgspec

from server.errors import Code
from server.registry.target import Target
from server.trace import PACKED_BYTES

PROTOCOL = 2
"""To be increased with every change of a message."""

FRAME_BYTES = 1 << 20
"""The largest frame, with its length."""

SIZE_BYTES = 4  # of a frame's length
_MOST_SLOTS = 1 << 16
_MOST_SLOT_BYTES = 1 << 30
_MOST_SIDE = (1 << 16) - 1

Number = Annotated[int, msgspec.Meta(ge=0)]
SlotNumber = Annotated[int, msgspec.Meta(ge=0, lt=_MOST_SLOTS)]
SlotNumbers = Annotated[list[SlotNumber], msgspec.Meta(min_length=1, max_length=_MOST_SLOTS)]
Side = Annotated[int, msgspec.Meta(ge=1, le=_MOST_SIDE)]  # pixels
PackedTrace = Annotated[bytes, msgspec.Meta(max_length=PACKED_BYTES)]
KeyName = Annotated[str, msgspec.Meta(max_length=64)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]  # refuses NaN too; infinity is allowed


Verb = Literal["load", "unload", "set_alias", "metrics"]
VersionName = tuple[str, str]  # name and version of a model


class Message(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """Holds no cycles, so that the garbage collector need not know it."""


# From a front to the core


class Hello(Message, tag=1, frozen=True):
    """The first message. The region's file descriptor comes with its first byte."""

    protocol: Number
    slots: Annotated[int, msgspec.Meta(ge=1, le=_MOST_SLOTS)]
    slot_bytes: Annotated[int, msgspec.Meta(ge=1, le=_MOST_SLOT_BYTES)]


class Reserve(Message, tag=2, frozen=True):
    """Asks for a permit for each of `slots`, all or none. Answered by Granted, Refused or Retired.

    `load`: the number of a load that the catalogue names. `caller`: a number that the front gives each caller.
    `decoded_first_s`, `decoded_all_s`: how long from now until one image and all images are decoded. `key`: the name of
    the key that pays for them, which also stands for the caller; empty where there is none.
    """

    request: Number
    load: Number
    slots: SlotNumbers
    caller: Number
    bulk: bool
    patient: bool
    deadline_s: Seconds
    decoded_first_s: Seconds
    decoded_all_s: Seconds
    key: KeyName = ""


class Cancel(Message, tag=3, frozen=True):
    """The front does not wait for its Reserve any more."""

    request: Number


class Submit(Message, tag=4, frozen=True):
    """The slot holds the picture (height, width, 3). Answered by Rows or Failed.

    `trace`: of the request, packed (`server.trace`), where its spans are recorded; else empty.
    """

    slot: SlotNumber
    height: Side
    width: Side
    trace: PackedTrace = b""


class Withdraw(Message, tag=5, frozen=True):
    """Nobody waits for the slot's image any more. It is answered all the same, so that the slot can be used again."""

    slot: SlotNumber


class Extend(Message, tag=6, frozen=True):
    """Somebody waits for the slot's image until this later time."""

    slot: SlotNumber
    deadline_s: Seconds


class Release(Message, tag=7, frozen=True):
    """Gives the permits of these slots back."""

    slots: SlotNumbers


class Prepared(Message, tag=8, frozen=True):
    """The front can answer for the offered load; with a `fault` it cannot, and the fault says why."""

    load: Number
    fault: str


class Ask(Message, tag=9, frozen=True):
    """What an operator wants. Answered by Answer or Refused.

    `name` is a model, or an alias; `target` is what an alias shall stand for, none to remove it.
    """

    request: Number
    verb: Verb
    name: str
    version: str = ""
    target: Target | None = None


class Samples(Message, tag=10, frozen=True):
    """The front's metrics, which Collect asked for: their text, compressed by zlib."""

    request: Number
    text: bytes


# From the core to a front


class Welcome(Message, tag=32, frozen=True):
    """The answer to Hello."""

    protocol: Number


class Granted(Message, tag=33, frozen=True):
    """Each slot of the request has its permit."""

    request: Number


class Refused(Message, tag=34, frozen=True):
    """The fields of a ServingError."""

    request: Number
    code: Code
    detail: str
    retry_after_s: Seconds | None


class Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """One image's answer: its probabilities are in the slot. Seconds in the queue; seconds and images of its batch."""

    slot: SlotNumber
    queue_s: Seconds
    infer_s: Seconds
    batch: Number


class Rows(Message, tag=35, frozen=True):
    """Answers that came together."""

    rows: Annotated[list[Row], msgspec.Meta(min_length=1, max_length=_MOST_SLOTS)]


class Failed(Message, tag=36, frozen=True):
    """The image of one slot has no answer. The permit is to be released as after a row."""

    slot: SlotNumber
    code: Code
    detail: str


class Retired(Message, tag=41, frozen=True):
    """The load of a Reserve answers no more requests; the catalogue that says so was sent before."""

    request: Number


class Offer(Message, tag=37, frozen=True):
    """A version that the core is about to serve; the bundle is in the folder `path`. Answered by Prepared."""

    load: Number
    path: str


class Version(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """A model version in the catalogue: what its Entry says, and, where it is ready, its Loaded."""

    name: str
    version: str
    path: str
    state: str
    reason: str
    load: Number = 0  # 0: not ready
    sick: bool = False
    engine: str = ""
    precision: str = ""
    why: str = ""
    device: str = ""
    copies: Number = 0
    batch: Number = 0
    parity: tuple[Number, float, float, float, float] = (0, 0.0, 0.0, 0.0, 0.0)


class Catalogue(Message, tag=38, frozen=True):
    """What is known from now on, all of it. `complete`: everything that the core found at its start is loaded."""

    complete: bool
    versions: list[Version]
    aliases: dict[str, Target]


class Answer(Message, tag=39, frozen=True):
    """The answer to Ask: the versions that it was about, whether it outlives the process, or the text of metrics."""

    request: Number
    versions: list[VersionName] = []
    kept: bool = True
    text: bytes = b""


class Collect(Message, tag=40, frozen=True):
    """Asks for the front's metrics. Answered by Samples."""

    request: Number


ToCore = Hello | Reserve | Cancel | Submit | Withdraw | Extend | Release | Prepared | Ask | Samples
ToFront = Welcome | Granted | Refused | Retired | Rows | Failed | Offer | Catalogue | Answer | Collect

_ENCODER = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """The message's frame. Raises ValueError where it would be larger than FRAME_BYTES."""
    body = _ENCODER.encode(message)
    if len(body) > FRAME_BYTES - SIZE_BYTES:
        raise ValueError(f"A {type(message).__name__} of {len(body)} bytes is too large for a frame: split it.")
    return len(body).to_bytes(SIZE_BYTES, "little") + body
