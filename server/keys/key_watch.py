"""KeyWatch: reads the keys again when one of their files has changed."""

import asyncio
import logging
from collections.abc import Callable

from server.keys.key_file import KeysError
from server.keys.keyring import Keyring
from server.keys.sources import Sources

log = logging.getLogger(__name__)

_LOOK_EVERY = 2  # calls of `look`: once a second


class KeyWatch:
    """A watch of the server, which calls `look` twice a second. Runs on the event loop; the files are looked at in the
    loop's pool of threads, because a disk may hang.
    """

    def __init__(self, sources: Sources) -> None:
        """Reads the keys; raises KeysError."""
        self._sources = sources
        self._on_change: list[Callable[[Keyring], None]] = []
        self._signature = sources.signature()
        self.ring = sources.read()
        self._looks = 0
        self._looking: asyncio.Task[None] | None = None

    @property
    def complaint(self) -> str:
        """None that another process would help with."""
        return ""

    @property
    def is_looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    def look(self) -> None:
        self._looks += 1
        if self._looks % _LOOK_EVERY == 0 and not self.is_looking:
            self._looking = asyncio.create_task(self.look_now())

    def give_up(self) -> None:
        """Nobody waits for it."""

    def tell(self, on_change: Callable[[Keyring], None]) -> None:
        """Have this called with the keys of each later state of the files that is valid."""
        self._on_change.append(on_change)

    async def look_now(self) -> None:
        signature = await asyncio.to_thread(self._sources.signature)
        if signature != self._signature:
            self._signature = signature
            self._take_over(await asyncio.to_thread(self._read))

    def look_at_once(self) -> None:
        """As `look_now`, on the event loop: for a key that another process has read already."""
        signature = self._sources.signature()
        if signature != self._signature:
            self._signature = signature
            self._take_over(self._read())

    def _read(self) -> Keyring | None:
        """None where a file is not valid; the log then says what to do."""
        try:
            return self._sources.read()
        except KeysError as error:
            log.error("the keys stay as they were: %s", error)
            return None

    def _take_over(self, ring: Keyring | None) -> None:
        if ring is None:
            return
        known, now = ({key.name for key in each.keys} for each in (self.ring, ring))
        self.ring = ring
        for change in self._on_change:
            change(ring)
        log.info("the keys have been read again: %d, %d new, %d removed", len(now), len(now - known), len(known - now))
