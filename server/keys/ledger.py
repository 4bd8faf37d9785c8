"""Ledger: the accounts of all keys. Rates and quotas hold over all processes, because only one has a ledger."""

from collections.abc import Callable

from prometheus_client import Gauge

from server.keys.account import Account
from server.keys.keyring import Keyring


class Ledger:
    """In the process that admits images: the only one, or the core. Runs on its event loop."""

    def __init__(self, ring: Keyring, quota_left: Gauge, look_again: Callable[[], None] = lambda: None) -> None:
        """`quota_left`: the metric, by key. `look_again` reads the keys again if their file has changed."""
        self._accounts: dict[str, Account] = {}
        self._shown: set[str] = set()
        self._quota_left = quota_left
        self.look_again = look_again
        self.take_over(ring)

    def take_over(self, ring: Keyring) -> None:
        """These are the keys now. One of the same name goes on with its account."""
        for name in self._accounts.keys() - {key.name for key in ring.keys}:
            self._accounts.pop(name).close()
            self._show(name, None)
        for key in ring.keys:
            account = self._accounts.get(key.name)
            if account:
                account.change(key)
            else:
                account = self._accounts[key.name] = Account(key)
            self._show(key.name, account if key.quota_per_day else None)

    def account(self, name: str) -> Account | None:
        """The account of the key of that name; None where there is no such key.

        A front may have read the changed file before this process has, so a new name makes it look.
        """
        if name not in self._accounts:
            self.look_again()
        return self._accounts.get(name)

    def _show(self, name: str, account: Account | None) -> None:
        if account:
            self._shown.add(name)
            self._quota_left.labels(name).set_function(account.quota_left)
        elif name in self._shown:
            self._shown.discard(name)
            self._quota_left.remove(name)
