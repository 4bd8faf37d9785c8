"""Corked: the transport that a response writes to. Its head leaves together with the beginning of its body."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Corked:
    """uvicorn writes the head of a response and its body one after the other. Each write would be a system call, and a
    packet for which the client wakes up.

    Everything but `write` and `close` is the real transport's.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._transport = cycle.transport
        self._cycle = cycle
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is None and self._cycle.response_started:  # what came before is "100 Continue"
            self._head = data
        else:
            self._transport.write((self._head or b"") + data)
            self._head = b""

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
