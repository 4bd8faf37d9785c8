"""Exchange: one request and its answer: who asks, and what became of it."""

from dataclasses import dataclass

from server.keys.key import Key


@dataclass(slots=True)
class Exchange:
    """A face makes one when a request begins: an HTTP request, a gRPC call, or one message of a stream.

    `address`: the client's, without the port; empty where it has none, as over a Unix socket. `key`: the client's,
    where the server has keys.
    """

    request_id: str = ""
    address: str = ""
    key: Key | None = None

    @property
    def identity(self) -> str:
        """Who asks: the name of the key, else the address."""
        return self.key.name if self.key else self.address
