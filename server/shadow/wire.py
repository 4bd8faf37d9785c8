"""Wire: what a server and the process of its shadow tell one another, over pipes.

A frame is the length of a message in four bytes, and the message in MessagePack.
"""

import struct

import msgspec
import numpy as np

from bundle.manifest import Preprocessing
from bundle.predictions import Probabilities

LENGTH = struct.Struct("!I")


class Open(msgspec.Struct, tag="open", frozen=True):
    """Make the version in this folder the shadow. `engine`, `precision`: of the version that it is compared with."""

    folder: str
    engine: str
    precision: str


class Compute(msgspec.Struct, tag="compute", frozen=True):
    """A picture, (height, width, 3) uint8, for the version that is open."""

    height: int
    width: int
    picture: bytes


Job = Open | Compute


class Opened(msgspec.Struct, tag="opened", frozen=True):
    """What the version is: the ids of its classes in the order of its outputs, and how it wants photos prepared."""

    labels: list[str]
    preprocessing: str
    engine: str
    precision: str


class Computed(msgspec.Struct, tag="computed", frozen=True):
    """`row`: float32, (classes,). `infer_s`: the engine's seconds, with those in which others had the core."""

    row: bytes
    infer_s: float


class Failure(msgspec.Struct, tag="failure", frozen=True):
    """What went wrong with the job. The process goes on."""

    detail: str


Reply = Opened | Computed | Failure


_JOB: msgspec.msgpack.Decoder[Job] = msgspec.msgpack.Decoder(Job)
_REPLY: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Job | Reply) -> bytes:
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def job(body: bytes) -> Job:
    """The job in a frame, after its length. Raises msgspec.MsgspecError for anything else."""
    return _JOB.decode(body)


def reply(body: bytes) -> Reply:
    """As `job`."""
    return _REPLY.decode(body)


def described(preprocessing: Preprocessing) -> str:
    """What decides the pixels that a version gets of a photo. Mean and deviation do not: its graph has them."""
    size = f"{preprocessing.height}x{preprocessing.width}"
    return f"{size} of {preprocessing.resize} {preprocessing.resize_to}, {preprocessing.interpolation}"


def row(computed: Computed) -> Probabilities:
    """(classes,)"""
    return np.frombuffer(computed.row, np.float32)
