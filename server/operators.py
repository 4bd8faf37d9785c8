"""Operators: what they can do over the network, and how a request shows that it is one of theirs."""

import hmac
from typing import Protocol

from server.registry.entry import Entry
from server.registry.target import Target


class Operations(Protocol):
    """What operators can do. See `Deployer`."""

    async def load(self, name: str, version: str) -> Entry: ...

    async def unload(self, name: str, version: str) -> list[Entry]: ...

    async def set_alias(self, alias: str, target: Target | None) -> bool: ...


class AdminToken:
    """The secret of the operators; an empty one lets nobody in."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def matches(self, given: str) -> bool:
        """Takes as long for a wrong one as for the right one."""
        return bool(self._token) and hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)

    def authorizes(self, header: str) -> bool:
        """Whether a header `Authorization: Bearer …` has it."""
        scheme, _, given = header.partition(" ")
        return scheme.lower() == "bearer" and self.matches(given)
