"""Access: whose request it is, and whether it may be answered. What both faces ask before they read a body."""

import time
from collections.abc import Callable

from server.errors import Code, ServingError
from server.keys.key import Key
from server.keys.keyring import Keyring

_BELIEVED_S = 1.0
_HOW = "send it as 'Authorization: Bearer …' or 'X-API-Key: …'"


class Access:
    """One for each process with faces. Runs on the event loop.

    `need_key`: whether requests need a key at all. Without it only operators are asked for a secret.
    """

    def __init__(self, ring: Keyring, need_key: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.ring = ring
        self.need_key = need_key
        self._clock = clock
        self._spent: dict[str, tuple[float, float]] = {}  # see `note_spent`

    @property
    def has_operators(self) -> bool:
        """Whether anybody may operate, now or after the key file has changed."""
        return self.need_key or bool(self.ring.keys)

    def take_over(self, ring: Keyring) -> None:
        """These are the keys now."""
        self.ring = ring
        self._spent.clear()

    def key_of(self, secret: str) -> Key:
        """Raises ServingError UNAUTHORIZED where the secret is empty, or that of no key."""
        key = self.ring.find(secret)
        if key is None:
            what = "This is no valid key" if secret else "This server needs a key"
            raise ServingError(Code.UNAUTHORIZED, f"{what}: {_HOW}.")
        return key

    def check_operator(self, secret: str) -> None:
        """Raises ServingError where the secret is not that of an operator: UNAUTHORIZED or FORBIDDEN."""
        key = self.ring.find(secret)
        if key and key.admin:
            return
        if not self.has_operators:
            raise ServingError(
                Code.FORBIDDEN,
                "Only operators may do this: start the server with an admin token or with keys, and send one as "
                "'Authorization: Bearer …'.",
            )
        if self.need_key:
            self.key_of(secret)
            raise ServingError(Code.FORBIDDEN, "This key is not an operator's: use one that has admin = true.")
        if not secret:
            raise ServingError(Code.UNAUTHORIZED, "Send the admin token as 'Authorization: Bearer …'.")
        raise ServingError(Code.FORBIDDEN, "This is not the admin token.")

    def check_metrics(self, key: Key) -> None:
        """Raises ServingError FORBIDDEN where a key may not read what is counted of all others."""
        if not (key.admin or key.metrics):
            raise ServingError(Code.FORBIDDEN, "This key may not read the metrics: use one that has metrics = true.")

    def note_spent(self, key: Key, for_s: float) -> None:
        """Not one image of this key can be admitted before that, unless others that were taken in advance come back. So
        this is believed for a moment only.
        """
        now_s = self._clock()
        self._spent[key.name] = now_s + min(for_s, _BELIEVED_S), now_s + for_s

    def refuse_spent(self, key: Key) -> None:
        """Raises ServingError RATE_LIMITED for a request with images that is known to come too soon: its body need not
        be read. Whether others do, only their admission shows.
        """
        spent = self._spent.get(key.name)
        if spent is None:
            return
        (until_s, next_s), now_s = spent, self._clock()
        if now_s >= until_s:
            del self._spent[key.name]
            return
        wait_s = next_s - now_s
        raise ServingError(
            Code.RATE_LIMITED, f"This key has sent all that it may for now: send more after {wait_s:.2f} s.", wait_s
        )
