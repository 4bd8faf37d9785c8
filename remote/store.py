"""Store: what pulling and pushing ask of a place where bundles are kept."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from remote.errors import RemoteError

CHUNK_BYTES = 1 << 20
"""How much of a file is in memory at a time, where the store lets us choose."""

Report = Callable[[int], None]
"""Is told how many bytes of the current file are there by now."""


class Item(NamedTuple):
    """An object in a store. `mark` differs when the object was written anew: a hash, an ETag or a time of change."""

    name: str
    bytes: int
    mark: str


@dataclass(frozen=True)
class Reading:
    """The bytes of an object from `start` on, which is 0 where the store cannot begin elsewhere."""

    start: int
    chunks: Iterator[bytes]


class Store(Protocol):
    """Names are relative to the store's URL, with slashes. Each method blocks: call it in a thread.

    Each raises Unreachable where the store does not answer, Absent where it has no such object, and RemoteError where
    it refuses. `url` is for messages: it has no credentials.
    """

    url: str

    def items(self, folder: str = "") -> Iterator[Item]:
        """All objects under a folder, with their whole names. Raises CannotList where the store has no listing."""
        ...

    def read(self, name: str, start: int = 0) -> Reading:
        """The object's bytes. The chunks raise Unreachable where the connection breaks before its end."""
        ...


@runtime_checkable
class WritableStore(Store, Protocol):
    """A store that takes objects. An object is there whole, or not at all."""

    def write(self, name: str, path: Path, report: Report) -> None:
        """Put a file there, in place of what is there."""
        ...

    def remove(self, name: str) -> None: ...


def content(store: Store, name: str, most_bytes: int) -> bytes:
    """A small object as a whole. Raises RemoteError where it is larger than that."""
    found = bytearray()
    for chunk in store.read(name).chunks:
        found += chunk
        if len(found) > most_bytes:
            raise RemoteError(
                f"{name} in {store.url} is larger than {most_bytes} bytes, which no bundle has there: "
                "push the bundle again."
            )
    return bytes(found)
