"""Call: one request of a client over gRPC: a call, or one message of a stream."""

from dataclasses import dataclass
from typing import Self

import grpc

from server.errors import ServingError
from server.exchange import Exchange, request_id
from server.journal import Journal
from server.metrics import GONE
from server.rpc.peers import Peers
from server.rpc.status import STATUS, Context
from server.service import Classifier


@dataclass(frozen=True, slots=True)
class CallHead:
    """What the client says of a whole call. `method`: the full name, such as sesame.v1.ImageClassifier/Classify."""

    method: str
    request_id: str
    address: str
    caller_id: str
    traceparent: str
    tracestate: str

    @classmethod
    def of(cls, context: Context, method: str, peers: Peers) -> Self:
        given = dict(context.invocation_metadata() or ())
        return cls(
            method,
            request_id(_text(given.get("x-request-id"))),
            peers.address(context) or "",
            _text(given.get("x-caller-id")),
            _text(given.get("traceparent")),
            _text(given.get("tracestate")),
        )

    def exchange(self, journal: Journal, minor: bool = False, number: int = 0) -> Exchange:
        """Of a request that begins now. `number`: of a message in its stream, from 1."""
        return Exchange(
            f"{self.request_id}.{number}" if number else self.request_id,
            self.address,
            trace=journal.trace(self.traceparent, self.tracestate, minor),
            face="grpc",
            method=self.method,
            minor=minor,
            caller_id=self.caller_id,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """`deadline_s`: when it must be answered, on the monotonic clock."""

    exchange: Exchange
    context: Context
    deadline_s: float

    @classmethod
    def begin(cls, exchange: Exchange, context: Context, classifier: Classifier) -> Self:
        """A request of this call begins now."""
        return cls(exchange, context, classifier.deadline_s(context.time_remaining()))

    def failed(self, error: ServingError) -> None:
        """It is answered with an error."""
        failed(self.exchange, error)


def failed(exchange: Exchange, error: ServingError) -> None:
    """The request is answered with an error."""
    exchange.code, exchange.status = error.code, STATUS[error.code].name


class Noted:
    """A context manager that enters a request in the journal when its body ends. Where nobody has said that it failed,
    it is answered.
    """

    __slots__ = ("_exchange", "_journal")

    def __init__(self, exchange: Exchange, journal: Journal) -> None:
        self._exchange = exchange
        self._journal = journal

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        exchange = self._exchange
        if isinstance(error, ServingError):
            failed(exchange, error)
        elif error:
            exchange.code, exchange.status = GONE, grpc.StatusCode.CANCELLED.name
        elif not exchange.status:
            exchange.status = grpc.StatusCode.OK.name
        self._journal.end(exchange)


def reply_metadata(exchange: Exchange) -> tuple[tuple[str, str], ...]:
    """What the client is told of its request besides the answer."""
    told = (("x-request-id", exchange.request_id),)
    return (*told, ("traceresponse", exchange.recorded.header())) if exchange.recorded else told


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
