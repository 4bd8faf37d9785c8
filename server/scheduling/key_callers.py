"""KeyCallers: all requests of one key and priority are one Caller, over both faces and all fronts."""

from weakref import WeakValueDictionary

from server.keys.account import removed
from server.keys.ledger import Ledger
from server.scheduling.fair_queue import Caller, Priority


class KeyCallers:
    """Runs on the event loop. `ledger`: the accounts that pay for images; a front has none, because the core does."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self._ledger = ledger
        self._callers: WeakValueDictionary[tuple[str, Priority], Caller] = WeakValueDictionary()

    def of(self, key: str, priority: Priority) -> Caller:
        """The same object for as long as it holds or waits for anything. Raises ServingError UNAUTHORIZED where the key
        has been removed.
        """
        account = None
        if self._ledger and (account := self._ledger.account(key)) is None:
            raise removed()
        caller = self._callers.get((key, priority))
        if caller is None or caller.account is not account:
            caller = self._callers[key, priority] = Caller(priority, key, account)
        return caller
