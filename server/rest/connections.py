"""Connections: all of the HTTP server's, how many there may be, and which one gives way to a new one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from server.errors import Code


class Connection(Protocol):
    """What is kept here."""

    transport: asyncio.Transport

    def last_answer(self) -> None:
        """Close with the answer that is under way."""
        ...


class Connections:
    """All HTTP connections of a server, those first that have been without a request for the longest time."""

    def __init__(self, most: int, count: Callable[[Code], object]) -> None:
        """`count` is told the code of every connection that is refused."""
        self.most = most
        self.count = count
        self.leaving = False
        self._all: set[Connection] = set()
        self._idle: OrderedDict[Connection, None] = OrderedDict()

    def leave(self) -> None:
        """From now on every answer closes its connection: a client that connects anew may find another server."""
        self.leaving = True
        for connection in self._all:
            connection.last_answer()

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
        """Close the connection that has been idle for the longest time; whether there was one."""
        if not self._idle:
            return False
        connection, _ = self._idle.popitem(last=False)
        connection.transport.close()
        return True
