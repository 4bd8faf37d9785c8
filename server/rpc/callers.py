"""Callers: which calls count as one Caller in the queues."""

from weakref import WeakValueDictionary

from server.rpc.peers import Peers
from server.rpc.status import Context
from server.scheduling.fair_queue import Caller, Priority


class Callers:
    """All calls of a connection with the same priority are one Caller, so that opening more of them gains nothing.

    Where a trusted proxy sends the calls of many clients over one connection, those of a client's address are one.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._callers: WeakValueDictionary[tuple[str, Priority], Caller] = WeakValueDictionary()

    def of(self, context: Context, priority: Priority) -> Caller:
        peer = self._peers.connection(context)
        caller = self._callers.get((peer, priority)) or Caller(priority)
        self._callers[peer, priority] = caller
        return caller
