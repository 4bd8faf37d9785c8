"""Operators: what they can do over the network. Who is one, `server.keys.access.Access` says."""

from typing import Protocol

from server.registry.entry import Entry
from server.registry.target import Target


class Operations(Protocol):
    """What operators can do. See `Deployer`."""

    async def load(self, name: str, version: str) -> Entry: ...

    async def unload(self, name: str, version: str) -> list[Entry]: ...

    async def set_alias(self, alias: str, target: Target | None) -> bool: ...
