"""Callers: which calls count as one Caller in the queues."""

from weakref import WeakValueDictionary

from server.scheduling.fair_queue import Caller, Priority


class Callers:
    """All calls of a connection with the same priority are one Caller, so that opening more of them gains nothing."""

    def __init__(self) -> None:
        self._callers: WeakValueDictionary[tuple[str, Priority], Caller] = WeakValueDictionary()

    def of(self, peer: str, priority: Priority) -> Caller:
        """`peer` is the address of the connection's other end."""
        caller = self._callers.get((peer, priority)) or Caller(priority)
        self._callers[peer, priority] = caller
        return caller
