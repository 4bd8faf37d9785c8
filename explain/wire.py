"""Wire: what a server and its process for explanations tell one another, over pipes.

A frame is the length of a message in four bytes, and the message in MessagePack.
"""

import struct
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from explain.explanation import Explanation, Wanted

LENGTH = struct.Struct("!I")

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A photo to explain. `folder` is the bundle's, `graph_sha256` that of its fp32 graph when the server loaded it."""

    folder: str
    graph_sha256: str
    photo: bytes
    wanted: Wanted
    max_pixels: int
    exact: bool


@dataclass(frozen=True)
class Failure:
    """`kind`: photo (its `code` is the ImageError's), bundle, or bug."""

    kind: str
    detail: str
    code: str = ""


@dataclass(frozen=True)
class Reply:
    """The outcome of a job: one of the two."""

    explanation: Explanation | None = None
    failure: Failure | None = None


def frame(message: Job | Reply) -> bytes:
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def message(body: bytes, kind: type[T]) -> T:
    """The message in a frame, after its length. Raises msgspec.ValidationError or DecodeError for anything else."""
    return msgspec.msgpack.decode(body, type=kind)
