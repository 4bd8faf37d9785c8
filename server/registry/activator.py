"""Activator: loads a version and puts it into service, takes it out, and waits for its last answers."""

import asyncio
import logging

from bundle.errors import BundleError
from server.decoding.threads import Threads
from server.engines.engine import EngineFailed
from server.registry.entry import Entry
from server.registry.loader import Loaded, Loader, ReadyModel

log = logging.getLogger(__name__)


class Activator:
    """Runs on the event loop; only `_load` runs in the loading thread."""

    def __init__(self, loader: Loader, threads: Threads) -> None:
        self._loader = loader
        self._threads = threads
        self._in_use: set[ReadyModel] = set()  # those that serve, and those that answer their last requests
        self._retiring: set[asyncio.Task[None]] = set()

    async def activate(self, entry: Entry) -> None:
        """Load an entry's files as they are now, and switch requests over to them at once.

        Where that fails `entry.fault` says why, and what was served before still is.
        """
        entry.begin()
        try:
            loaded = await self._threads.run(self._load, entry)
        except Exception as error:  # a runtime may raise anything for a graph that it cannot run
            known = isinstance(error, BundleError | EngineFailed)
            entry.fail(str(error) if known else "no engine could be made of it: see the log")
            log.error("model failed name=%s version=%s: %s", entry.name, entry.version, error, exc_info=not known)
            return
        ready = self._loader.serve(loaded)
        self._in_use.add(ready)
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
        return sum(ready.batcher.admission.taken for ready in self._in_use)

    async def idle(self) -> None:
        """Returns when all that was admitted is answered."""
        for ready in list(self._in_use):
            await ready.batcher.admission.idle()

    def _load(self, entry: Entry) -> Loaded:
        loaded = self._loader.load(entry.path)
        manifest = loaded.bundle.manifest
        if (manifest.name, manifest.version) != (entry.name, entry.version):
            raise BundleError(
                f"The manifest names itself {manifest.name}/{manifest.version}: keep the folder as it was exported."
            )
        return loaded

    def _retire(self, ready: ReadyModel, message: str = "") -> "asyncio.Task[None]":
        async def retire() -> None:
            await ready.batcher.retire()
            self._in_use.discard(ready)
            if message:
                log.info(message)

        task = asyncio.create_task(retire())
        self._retiring.add(task)  # the event loop itself holds tasks weakly
        task.add_done_callback(self._retiring.discard)
        return task
