"""Call: one request of a client over gRPC: a call, or one message of a stream."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from server.exchange import Exchange
from server.rpc.status import Context
from server.service import Classifier


@dataclass(frozen=True, slots=True)
class Call:
    """`deadline_s`: when it must be answered, on the monotonic clock."""

    exchange: Exchange
    context: Context
    deadline_s: float

    @classmethod
    def begin(cls, context: Context, classifier: Classifier) -> Self:
        """A request of this call begins now."""
        exchange = Exchange(address=_address(context.peer()), caller_id=_caller_id(context))
        return cls(exchange, context, classifier.deadline_s(context.time_remaining()))


def _caller_id(context: Context) -> str:
    """The metadata `x-caller-id`; "" where there is none."""
    for key, value in context.invocation_metadata() or ():
        if key == "x-caller-id":
            return value if isinstance(value, str) else ""
    return ""


def _address(peer: str) -> str:
    """The address in what gRPC calls a peer, such as `ipv4:127.0.0.1:5000` and `ipv6:%5B::1%5D:5000`."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return ""
    return unquote(rest).rpartition(":")[0].strip("[]")
