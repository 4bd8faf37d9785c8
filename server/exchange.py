"""Exchange: one request and its answer: who asks, and what became of it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Exchange:
    """A face makes one when a request begins: an HTTP request, a gRPC call, or one message of a stream.

    `address`: the client's, without the port; empty where it has none, as over a Unix socket.
    """

    request_id: str = ""
    address: str = ""
