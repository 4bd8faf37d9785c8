"""Keeper: brings models in and takes them out while requests go on."""

import asyncio
import logging

from bundle.errors import BundleError
from server import aliases
from server.aliases import Target
from server.engines import EngineFailed
from server.errors import Code, ServingError
from server.loader import Loader, ReadyModel
from server.repository import Entry, Repository, State, unreadable
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
        self._troubles: dict[str, str] = {}
        self._retiring: dict[ReadyModel, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Serve what the folder of bundles holds now, and follow the aliases that other servers have set there.

        A version whose files changed is loaded again. One whose files are gone is served from memory until another
        version of its model is ready: a volume may be back in a moment. A folder that cannot be read changes nothing.
        """
        async with self._turn:
            try:
                await self._see()
            except OSError as error:
                self._tell("folder", f"{unreadable(self._repository.root, error)}: trying again")
                return
            self._tell("folder")
            for entry in [entry for entry in self._repository.entries() if entry.gone and not entry.ready]:
                if not self._named(entry):
                    self._repository.forget(entry)
            await self._follow_aliases()
            for name in self._repository.names():
                await self._bring_up_to_date(name)

    async def load(self, name: str, version: str) -> Entry:
        """Load a version, or the newest, again if it is loaded already; returns when it serves.

        Raises ServingError: UNKNOWN_MODEL, or CONFLICT where it cannot be loaded; then what was served still is.
        """
        async with self._turn:
            try:
                await self._see()
            except OSError as error:
                raise ServingError(
                    Code.CONFLICT, f"{unreadable(self._repository.root, error)}: let the server's user read it."
                ) from error
            *_, entry = sorted(self._repository.matching(name, version), key=lambda entry: not entry.gone)
            if entry.gone:
                raise ServingError(
                    Code.CONFLICT, f"{entry.name}/{entry.version} was not loaded: its files are gone. Put them back."
                )
            await self._bring(entry)
            if entry.fault:
                raise ServingError(Code.CONFLICT, f"{entry.name}/{entry.version} was not loaded: {entry.fault}")
            entry.wanted = bool(version)
            self._trim(name)
            return entry

    async def again(self, entry: Entry) -> None:
        """Load a version anew if it is still served, as when its engine could be another one now."""
        async with self._turn:
            if entry.ready and not entry.gone and entry in self._repository.entries():
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
            for entry in entries:
                if entry.gone:
                    self._repository.forget(entry)
        await asyncio.gather(*leaving)
        return entries

    async def point(self, alias: str, target: Target | None) -> bool:
        """Let an alias stand for a version, which is loaded first, or remove it; whether that will outlive the process.

        Raises ServingError: MALFORMED for an unfit name, UNKNOWN_MODEL, CONFLICT where the version cannot be loaded or
        the file of aliases cannot be understood.
        """
        if not aliases.fit(alias) or alias in self._repository.names():
            raise ServingError(
                Code.MALFORMED, "An alias is 1 to 64 letters, digits, '.', '_' and '-', and not the name of a model."
            )
        try:
            async with self._turn:
                self._repository.aliases.take(await self._threads.run(self._repository.aliases.read))
            if target is None and self._repository.aliases.get(alias) is None:
                raise ServingError(Code.UNKNOWN_MODEL, f"There is no alias '{alias}'.")
            if target and not any(entry.ready for entry in self._repository.matching(target.model, target.version)):
                await self.load(target.model, target.version)
            async with self._turn:
                before = self._repository.aliases.get(alias)
                kept = await self._threads.run(self._repository.aliases.set, alias, target)
                log.info("alias %s stands for %s", alias, target)
                if before:
                    self._trim(before.model)
        except BundleError as error:
            raise ServingError(Code.CONFLICT, str(error)) from error
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

    async def _see(self) -> None:
        """Look at the folder of bundles. Raises OSError where it cannot be read."""
        gone = {entry for entry in self._repository.entries() if entry.gone}
        found = await self._threads.run(self._repository.found)
        if lost := [f"{entry.name}/{entry.version}" for entry in self._repository.update(found) if entry not in gone]:
            log.warning("the files of %s are gone; what is in memory is still served", ", ".join(lost))

    async def _follow_aliases(self) -> None:
        """Take over what the file of aliases says. A version that an alias moves to is loaded before."""
        try:
            targets = await self._threads.run(self._repository.aliases.read)
        except BundleError as error:
            self._tell("aliases", f"{error} Until then the aliases stay as they are.")
            return
        self._tell("aliases")
        new = set(targets.values()) - set(self._repository.aliases.all().values())
        for entry in self._repository.entries():
            if Target(entry.name, entry.version) in new and not entry.ready and not entry.gone:
                await self._bring(entry)
        self._repository.aliases.take(targets)

    def _tell(self, about: str, trouble: str = "") -> None:
        """Log a trouble once, though every look meets it again."""
        if trouble and self._troubles.get(about) != trouble:
            log.warning("%s", trouble)
        self._troubles[about] = trouble

    async def _bring_up_to_date(self, name: str) -> None:
        """Load the newest versions that can be loaded: where one fails an older one is taken.

        A version whose files are gone counts as served: that files go away is no reason to load an older version.
        """
        serving = 0
        for entry in reversed(self._repository.versions(name)):
            needed = serving < self._keep or self._stays(entry)
            if needed and not entry.gone and entry.seen != entry.tried:
                await self._bring(entry)
            elif entry.state is State.LOADING:
                entry.state = State.UNLOADED
            serving += entry.is_ready()
        self._trim(name)

    def _named(self, entry: Entry) -> bool:
        """Whether an operator wants this very version."""
        return entry.wanted or bool(self._repository.aliased(entry))

    def _stays(self, entry: Entry) -> bool:
        return not self._keep or self._named(entry)

    def _trim(self, name: str) -> None:
        """Let versions go that newer ones have replaced, and those without files once another one is ready."""
        ready = [entry for entry in reversed(self._repository.versions(name)) if entry.ready]
        there = [entry for entry in ready if not entry.gone]
        for entry in there[self._keep :]:
            if not self._stays(entry):
                self._let_go(entry)
        for entry in [entry for entry in ready if entry.gone and there]:
            if not self._named(entry):
                self._let_go(entry)
                self._repository.forget(entry)

    def _let_go(self, entry: Entry) -> None:
        """Take out a version that is not needed now, and may be loaded again."""
        self._take_out(entry)
        entry.tried = None

    async def _bring(self, entry: Entry) -> None:
        """Load an entry, or its files as they are now. Where that fails `reason` says why; what served still does."""
        entry.tried, entry.fault = entry.seen, ""
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
            entry.fault = str(error) if known else "no engine could be made of it: see the log"
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
        ready, entry.ready, entry.state, entry.fault = entry.ready, None, State.UNLOADED, ""
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
