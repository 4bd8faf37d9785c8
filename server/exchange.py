"""Exchange: one request and its answer: who asks, and what became of it."""

from dataclasses import dataclass

MOST_CALLER_ID = 128
"""Characters of a caller's id that count."""


@dataclass(slots=True)
class Exchange:
    """A face makes one when a request begins: an HTTP request, a gRPC call, or one message of a stream.

    `address`: the client's, without the port; empty where it has none, as over a Unix socket. `caller_id`: how a proxy
    in front tells callers apart, as it was sent; "" where it was not.
    """

    request_id: str = ""
    address: str = ""
    caller_id: str = ""

    @property
    def identity(self) -> str:
        """Who asks, as far as versions of an alias share callers."""
        return self.caller_id[:MOST_CALLER_ID] or self.address
