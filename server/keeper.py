"""Keeper: brings models in and takes them out while requests go on."""

import asyncio
import logging

from bundle.errors import BundleError
from server import aliases
from server.aliases import Target
from server.engines import EngineFailed
from server.errors import Code, ServingError
from server.loader import Loader, ReadyModel
from server.repository import Entry, Repository, State
from server.threads import Threads

log = logging.getLogger(__name__)


class Keeper:
    """One change at a time. Requests go to a new version from the moment that it is ready, all at once; the old one
    leaves when its last request is answered.

    Of each model the `keep` newest versions that can be loaded are served (0: all), besides those that an alias or an
    operator names.
    """

    def __init__(self, repository: Repository, loader: Loader, keep: int) -> None:
        self._repository = repository
        self._loader = loader
        self._keep = keep
        self._threads = Threads(1, "load")
        self._turn = asyncio.Lock()
        self._retiring: dict[ReadyModel, asyncio.Task[None]] = {}

    async def look(self) -> list[Entry]:
        """Serve what the folder of bundles holds now. Returns what was loaded in vain.

        A version whose files changed is loaded again; one that is gone leaves, unless an alias names it.
        """
        async with self._turn:
            gone = self._repository.update(await self._threads.run(self._repository.found))
            for entry in gone:
                self._lose(entry)
            failed = [await self._bring_up_to_date(name) for name in self._repository.names()]
            return [entry for entries in failed for entry in entries]

    async def load(self, name: str, version: str) -> Entry:
        """Load a version, or the newest, again if it is loaded already; returns when it serves.

        Raises ServingError: UNKNOWN_MODEL, or CONFLICT where it cannot be loaded; then what was served still is.
        """
        async with self._turn:
            self._repository.update(await self._threads.run(self._repository.found))
            entry = self._repository.matching(name, version)[-1]
            await self._bring(entry)
            if entry.reason:
                raise ServingError(Code.CONFLICT, f"{entry.name}/{entry.version} was not loaded: {entry.reason}")
            entry.wanted = bool(version)
            self._trim(name)
            return entry

    async def again(self, entry: Entry) -> None:
        """Load a version anew if it is still served, as when its engine could be another one now."""
        async with self._turn:
            if entry.ready and entry in self._repository.entries():
                await self._bring(entry)

    async def unload(self, name: str, version: str) -> list[Entry]:
        """Take a version out, or all of a model; returns when their last request is answered.

        Raises ServingError: UNKNOWN_MODEL, or CONFLICT where an alias names one.
        """
        async with self._turn:
            entries = self._repository.matching(name, version)
            for entry in entries:
                if named := self._repository.aliased(entry):
                    raise ServingError(
                        Code.CONFLICT, f"The alias '{named[0]}' stands for version {entry.version}: move it first."
                    )
            for entry in entries:
                entry.tried, entry.wanted = entry.seen, False
            leaving = [self._take_out(entry) for entry in entries if entry.ready]
        await asyncio.gather(*leaving)
        return entries

    async def point(self, alias: str, target: Target | None) -> bool:
        """Let an alias stand for a version, which is loaded first, or remove it; whether that will outlive the process.

        Raises ServingError: MALFORMED for an unfit name, UNKNOWN_MODEL, CONFLICT where the version cannot be loaded.
        """
        if not aliases.fit(alias) or alias in self._repository.names():
            raise ServingError(
                Code.MALFORMED, "An alias is 1 to 64 letters, digits, '.', '_' and '-', and not the name of a model."
            )
        if target is None and self._repository.aliases.get(alias) is None:
            raise ServingError(Code.UNKNOWN_MODEL, f"There is no alias '{alias}'.")
        if target and not any(entry.ready for entry in self._repository.matching(target.model, target.version)):
            await self.load(target.model, target.version)
        async with self._turn:
            before = self._repository.aliases.get(alias)
            kept = self._repository.aliases.set(alias, target)
            log.info("alias %s stands for %s", alias, target)
            if before:
                self._trim(before.model)
        return kept

    def unanswered(self) -> int:
        """Images admitted to any model and not yet answered."""
        return sum(ready.batcher.admission.taken for ready in self._in_use())

    async def idle(self) -> None:
        """Returns when all that was admitted is answered."""
        for ready in self._in_use():
            await ready.batcher.admission.idle()

    def _in_use(self) -> set[ReadyModel]:
        return {entry.ready for entry in self._repository.entries() if entry.ready} | self._retiring.keys()

    async def _bring_up_to_date(self, name: str) -> list[Entry]:
        failed, serving = [], 0
        for entry in reversed(self._repository.versions(name)):
            needed = serving < self._keep or self._stays(entry)
            if needed and entry.seen != entry.tried:
                await self._bring(entry)
                failed += [entry] if entry.reason else []
            elif entry.state is State.LOADING:
                entry.state = State.UNLOADED
            serving += entry.is_ready()
        self._trim(name)
        return failed

    def _stays(self, entry: Entry) -> bool:
        return not self._keep or entry.wanted or bool(self._repository.aliased(entry))

    def _trim(self, name: str) -> None:
        """Let versions go that newer ones have replaced."""
        newest_first = [entry for entry in reversed(self._repository.versions(name)) if entry.ready]
        for entry in newest_first[self._keep :]:
            if not self._stays(entry):
                self._take_out(entry)

    def _lose(self, entry: Entry) -> None:
        if named := self._repository.aliased(entry):
            log.warning("%s/%s is gone from the disk; the alias %s holds it", entry.name, entry.version, named[0])
            return
        if entry.ready:
            self._take_out(entry)
        self._repository.forget(entry)

    async def _bring(self, entry: Entry) -> None:
        """Load an entry, or its files as they are now. Where that fails `reason` says why; what served still does."""
        entry.tried, entry.reason = entry.seen, ""
        entry.state = State.READY if entry.ready else State.LOADING
        try:
            loaded = await self._threads.run(self._loader.load, entry.path)
            manifest = loaded.bundle.manifest
            if (manifest.name, manifest.version) != (entry.name, entry.version):
                raise BundleError(
                    f"The manifest names itself {manifest.name}/{manifest.version}: keep the folder as it was exported."
                )
        except Exception as error:  # a runtime may raise anything at a graph that it cannot take
            known = isinstance(error, BundleError | EngineFailed)
            entry.reason = str(error) if known else "no engine could be made of it: see the log"
            entry.state = State.READY if entry.ready else State.FAILED
            log.error("model failed name=%s version=%s: %s", entry.name, entry.version, error, exc_info=not known)
            return
        old, entry.ready, entry.state = entry.ready, self._loader.serve(loaded), State.READY
        log.info("model ready name=%s version=%s engine=%s", entry.name, entry.version, loaded.engine.name)
        if old:
            self._retire(old)

    def _take_out(self, entry: Entry) -> "asyncio.Task[None]":
        """From this moment no request goes there; the task ends when the last one is answered."""
        assert entry.ready is not None
        ready, entry.ready, entry.state, entry.reason = entry.ready, None, State.UNLOADED, ""
        ready.metrics.unwatch()
        return self._retire(ready, f"model unloaded name={entry.name} version={entry.version}")

    def _retire(self, ready: ReadyModel, told: str = "") -> "asyncio.Task[None]":
        async def retire() -> None:
            await ready.batcher.retire()
            del self._retiring[ready]
            if told:
                log.info(told)

        task = self._retiring[ready] = asyncio.create_task(retire())
        return task
