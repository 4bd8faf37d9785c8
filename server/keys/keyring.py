"""Keyring: all keys that are valid now, and which of them a secret opens."""

import hashlib
import hmac
from collections.abc import Callable, Sequence

from server.keys.key import Key

_SECRET_CHARACTERS = 512  # a longer text is no secret of ours, and is not hashed


class Keyring:
    """Never changes; a file that was changed makes another one. Any thread may use it."""

    def __init__(self, keys: Sequence[Key], compare: Callable[[bytes, bytes], bool] = hmac.compare_digest) -> None:
        self.keys = tuple(keys)
        self._compare = compare

    def find(self, secret: str) -> Key | None:
        """The key with this secret. All digests are compared, whichever matches, and also without a secret: the time
        that it takes tells nothing.
        """
        given = secret if len(secret) <= _SECRET_CHARACTERS else ""
        digest = hashlib.sha256(given.encode("latin-1", "replace")).digest()
        found = None
        for key in self.keys:
            if self._compare(digest, key.digest):
                found = key
        return found if given else None


def secret_of(authorization: str | None, api_key: str | None) -> str:
    """The secret in the headers `X-API-Key: …` and `Authorization: Bearer …`; empty where neither has one.

    The first one wins: a proxy may have an Authorization of its own.
    """
    if api_key and api_key.strip():
        return api_key.strip()
    scheme, _, given = (authorization or "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""
