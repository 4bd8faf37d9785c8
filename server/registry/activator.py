"""Activator: loads a version and puts it into service, takes it out, and waits for its last answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bundle.errors import BundleError
from remote.errors import Unreachable
from server.engines.engine import EngineFailed
from server.registry.entry import Entry
from server.registry.loader import Loaded, Loader, ReadyModel
from server.scheduling.batcher import Batcher
from server.scheduling.threads import Threads

log = logging.getLogger(__name__)


Offer = Callable[[Entry, Loaded], Awaitable[None]]
Fetch = Callable[[Entry], None]
"""Brings an entry's files to its folder, in the loading thread. Raises BundleError."""


async def to_nobody(entry: Entry, loaded: Loaded) -> None:
    """In one process, nobody else has to know."""


def is_there(entry: Entry) -> None:
    """The files of a folder need not be fetched."""


def load(loader: Loader, entry: Entry) -> Loaded:
    """Load an entry's files as they are now. Takes seconds: call it in a thread. Raises BundleError or EngineFailed, or
    whatever a runtime raises.
    """
    loaded = loader.load(entry.path)
    manifest = loaded.bundle.manifest
    if (manifest.name, manifest.version) != (entry.name, entry.version):
        raise BundleError(
            f"The manifest names itself {manifest.name}/{manifest.version}: keep the folder as it was exported."
        )
    return loaded


class Activator:
    """Runs on the event loop; only `load` runs in the loading thread."""

    def __init__(self, loader: Loader, threads: Threads, offer: Offer = to_nobody, fetch: Fetch = is_there) -> None:
        """`offer` returns when all who answer requests can do so with the loaded version; raises BundleError where they
        cannot.
        """
        self._loader = loader
        self._threads = threads
        self._offer = offer
        self._fetch = fetch
        self._in_use: dict[ReadyModel, Batcher] = {}  # those that serve, and those that answer their last requests
        self._retiring: set[asyncio.Task[None]] = set()

    async def activate(self, entry: Entry) -> None:
        """Load an entry's files as they are now, and switch requests over to them at once.

        Where that fails `entry.fault` says why, and what was served before still is.
        """
        told = entry.fault
        entry.begin()
        try:
            await self._threads.run_or_leave(self._fetch, entry)
            loaded = await self._threads.run(load, self._loader, entry)
            await self._offer(entry, loaded)
        except Exception as error:  # a runtime may raise anything for a graph that it cannot run
            known = isinstance(error, BundleError | EngineFailed)
            entry.fail(str(error) if known else "no engine could be made of it: see the log")
            if isinstance(error, Unreachable):
                entry.allow_load()  # the same files may come later
                if entry.fault == told:
                    return
            log.error("model failed name=%s version=%s: %s", entry.name, entry.version, error, exc_info=not known)
            return
        ready, batcher = self._loader.serve(loaded)
        self._in_use[ready] = batcher
        replaced = entry.succeed(ready)
        log.info("model ready name=%s version=%s engine=%s", entry.name, entry.version, loaded.engine.name)
        if replaced:
            self._retire(replaced)

    def deactivate(self, entry: Entry) -> "asyncio.Task[None]":
        """No request goes there from now on. The task ends when the last one is answered."""
        ready = entry.retire()
        ready.metrics.unwatch()
        return self._retire(ready, f"model unloaded name={entry.name} version={entry.version}")

    def unanswered(self) -> int:
        """Images admitted to any model and not yet answered."""
        return sum(batcher.admission.taken for batcher in self._in_use.values())

    async def idle(self) -> None:
        """Returns when all that was admitted is answered."""
        for batcher in list(self._in_use.values()):
            await batcher.admission.idle()

    def batcher(self, ready: ReadyModel) -> Batcher:
        """The queue of a model that serves, or answers its last requests."""
        return self._in_use[ready]

    def _retire(self, ready: ReadyModel, message: str = "") -> "asyncio.Task[None]":
        async def retire() -> None:
            await self._in_use[ready].retire()
            del self._in_use[ready]
            if message:
                log.info(message)

        task = asyncio.create_task(retire())
        self._retiring.add(task)  # the event loop itself holds tasks weakly
        task.add_done_callback(self._retiring.discard)
        return task
