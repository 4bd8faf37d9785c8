"""Connections: all connections of the HTTP server, their limit, and which one is closed for a new one."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from server.errors import Code


class Closable(Protocol):
    def close(self) -> object: ...


class Connection(Protocol):
    """One of them."""

    @property
    def transport(self) -> Closable: ...

    def close_after_answer(self) -> None:
        """Close after the answer that is being sent."""
        ...


class Connections:
    """All HTTP connections of a server. Used on the event loop only."""

    def __init__(self, most: int, count: Callable[[Code], object]) -> None:
        """`most` connections may be open. `count` gets the error code of each connection that is rejected."""
        self.most = most
        self.count = count
        self.leaving = False
        self._all: set[Connection] = set()
        self._idle: OrderedDict[Connection, None] = OrderedDict()  # the one that is idle for the longest time first

    def leave(self) -> None:
        """From now on every answer closes its connection, so that clients connect to another server."""
        self.leaving = True
        for connection in self._all:
            connection.close_after_answer()

    def is_full(self) -> bool:
        return len(self._all) >= self.most

    @property
    def open(self) -> int:
        """How many there are now."""
        return len(self._all)

    def opened(self, connection: Connection) -> None:
        self._all.add(connection)
        self.idle(connection)

    def closed(self, connection: Connection) -> None:
        self._all.discard(connection)
        self.busy(connection)

    def idle(self, connection: Connection) -> None:
        self._idle[connection] = None
        self._idle.move_to_end(connection)

    def busy(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection that has been idle for the longest time. False if none is idle."""
        if not self._idle:
            return False
        connection, _ = self._idle.popitem(last=False)
        connection.transport.close()
        return True
