"""Requests: a photo as a call brings it.

gRPC hands on the bytes of a message. So a broken message is an error like any other, and a large one is parsed in a
thread and does not hold up the event loop.
"""

from dataclasses import dataclass

from explain.explanation import Wanted
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.rpc.call import Call
from server.rpc.calls import parser
from server.scheduling.fair_queue import Caller, Priority
from server.service import RequestOptions

_parse = parser(pb.ClassifyRequest)
_parse_explain = parser(pb.ExplainRequest)
_PRIORITY = {pb.INTERACTIVE: Priority.INTERACTIVE, pb.BULK: Priority.BULK}


@dataclass(frozen=True, slots=True)
class PhotoRequest:
    """A ClassifyRequest, without the message itself, which would hold a second copy of the photo."""

    image: bytes
    model: str
    version: str
    top_k: int | None
    id: str
    priority: Priority

    def options(self, caller: Caller, call: Call, patient: bool) -> RequestOptions:
        return RequestOptions(
            call.deadline_s, caller, self.model, self.version, self.top_k, patient, exchange=call.exchange
        )


def parse(serialized: bytes) -> PhotoRequest:
    """Raises ServingError MALFORMED for bytes that are no ClassifyRequest."""
    return _photo_request(_parse(serialized))


def parse_explain(serialized: bytes) -> tuple[PhotoRequest, Wanted]:
    """Raises ServingError MALFORMED for bytes that are no ExplainRequest."""
    message = _parse_explain(serialized)
    index = message.class_index if message.HasField("class_index") else None
    return _photo_request(message.photo), Wanted(class_index=index, overlay=message.overlay, gates=message.all_gates)


def _photo_request(message: pb.ClassifyRequest) -> PhotoRequest:
    return PhotoRequest(
        image=message.image,
        model=message.model,
        version=message.version,
        top_k=message.top_k or None,
        id=message.id,
        priority=_PRIORITY.get(message.priority, Priority.INTERACTIVE),
    )
