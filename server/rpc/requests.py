"""Requests: a photo as a call brings it. gRPC hands on the bytes, so that a broken message is an error like any other,
and a large one does not hold up the event loop.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from server.errors import Code, ServingError
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.waiting import Priority

_PRIORITY = {pb.INTERACTIVE: Priority.INTERACTIVE, pb.BULK: Priority.BULK}


@dataclass(frozen=True, slots=True)
class Request:
    """A ClassifyRequest without its message, which would hold a second copy of the photo."""

    image: bytes
    model: str
    version: str
    top_k: int | None
    id: str
    priority: Priority


def parse(serialized: bytes) -> Request:
    """Raises ServingError MALFORMED for what is no ClassifyRequest."""
    try:
        message = pb.ClassifyRequest.FromString(serialized)
    except DecodeError:
        raise ServingError(
            Code.MALFORMED, "The message is no ClassifyRequest: send what the .proto file says."
        ) from None
    return Request(
        image=message.image,
        model=message.model,
        version=message.version,
        top_k=message.top_k or None,
        id=message.id,
        priority=_PRIORITY.get(message.priority, Priority.INTERACTIVE),
    )
