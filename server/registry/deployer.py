"""Deployer: loads, replaces and unloads models while requests go on."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from bundle.errors import BundleError
from server.errors import Code, ServingError
from server.registry import aliases
from server.registry.activator import Activator
from server.registry.entry import Entry
from server.registry.folder import unreadable
from server.registry.repository import Repository
from server.registry.target import Target
from server.scheduling.threads import Threads

log = logging.getLogger(__name__)


class Deployer:
    """Makes one change at a time, under a lock. All requests switch to a new version at the moment when it is ready.

    Of each model the `keep` newest versions that can be loaded are served (0: all), besides those that an alias names
    or an operator asked for. Everything runs on the event loop, but for what reads the disk: `threads` runs that.

    The verbs for the end of a version:

    - `unload`: an operator ends its service. `Entry.keep_out` notes that only an operator loads these files again.
    - `_retire`: a newer version has replaced it. `Entry.allow_load` notes that it may be loaded again.
    - `Activator.deactivate`: both use it. No new request goes there (`Entry.retire`), and its batcher ends with the
      last answer (`Batcher.retire`).
    - `Entry.skip`: it was never loaded, because it is not needed now.
    - `Repository.forget`: it is not listed any more, because its files are gone.
    """

    def __init__(self, repository: Repository, activator: Activator, threads: Threads, keep: int) -> None:
        self._repository = repository
        self._activator = activator
        self._threads = threads
        self._keep = keep
        self._changing = asyncio.Lock()
        self._logged: dict[str, str] = {}

    async def refresh(self) -> None:
        """Serve what the model repository holds now, and follow the aliases that other servers have set there.

        A version whose files changed is loaded again. One whose files are gone is served from memory until another
        version of its model is ready: a volume may be back in a moment. A folder that cannot be read changes nothing.
        """
        async with self._changing:
            try:
                await self._scan()
            except OSError as error:
                self._log_once("folder", f"{unreadable(self._repository.root, error)}: trying again")
                return
            self._log_once("folder", "")
            for entry in [entry for entry in self._repository.entries() if entry.gone and not entry.ready]:
                if not self._is_pinned(entry):
                    self._repository.forget(entry)
            await self._follow_aliases()
            for name in self._repository.names():
                await self._refresh_model(name)
            if remote := self._repository.remote:
                serving = {entry.path for entry in self._repository.entries() if entry.ready}
                await self._threads.run(remote.tidy, serving)

    async def load(self, name: str, version: str) -> Entry:
        """Load a version, or the newest; again if it is loaded already. Returns when it serves.

        Raises ServingError: UNKNOWN_MODEL, or CONFLICT where it cannot be loaded; then what was served still is.
        """
        async with self._changing:
            try:
                await self._scan()
            except OSError as error:
                cure = "try again later" if self._repository.remote else "let the server's user read it"
                raise ServingError(Code.CONFLICT, f"{unreadable(self._repository.root, error)}: {cure}.") from error
            *_, entry = sorted(self._repository.matching(name, version), key=lambda entry: not entry.gone)
            failed = f"{entry.name}/{entry.version} was not loaded"
            if entry.gone:
                raise ServingError(Code.CONFLICT, f"{failed}: its files are gone. Put them back.")
            await self._activator.activate(entry)
            if entry.fault:
                raise ServingError(Code.CONFLICT, f"{failed}: {entry.fault}")
            entry.pin(bool(version))
            self._retire_replaced(name)
            return entry

    async def reload(self, entry: Entry) -> None:
        """Load a version again if it is still served, as when another engine could run it now."""
        async with self._changing:
            if entry.ready and not entry.gone and entry in self._repository.entries():
                await self._activator.activate(entry)

    async def unload(self, name: str, version: str) -> list[Entry]:
        """Unload a version, or all of a model. Returns when their last request is answered.

        Raises ServingError: UNKNOWN_MODEL, or CONFLICT where an alias names one.
        """
        async with self._changing:
            entries = self._repository.matching(name, version)
            for entry in entries:
                if named := self._repository.aliases_of(entry):
                    raise ServingError(
                        Code.CONFLICT, f"The alias '{named[0]}' stands for version {entry.version}: move it first."
                    )
            for entry in entries:
                entry.keep_out()
            leaving = [self._activator.deactivate(entry) for entry in entries if entry.ready]
            for entry in entries:
                if entry.gone:
                    self._repository.forget(entry)
        await asyncio.gather(*leaving)
        return entries

    async def set_alias(self, alias: str, target: Target | None) -> bool:
        """Let an alias stand for versions, which are loaded first, or remove it (None). A shadow need only be there.

        Returns whether that will outlive the process. Raises ServingError: MALFORMED for a name that cannot be an
        alias, UNKNOWN_MODEL, or CONFLICT where the version cannot be loaded or the file of aliases is broken.
        """
        if not aliases.is_valid(alias) or alias in self._repository.names():
            raise ServingError(
                Code.MALFORMED,
                "An alias must be 1 to 64 letters, digits, '.', '_' and '-', and not the name of a model.",
            )
        try:
            async with self._changing:
                self._repository.aliases.adopt(await self._threads.run(self._repository.aliases.read))
            if target is None and self._repository.aliases.get(alias) is None:
                raise ServingError(Code.UNKNOWN_MODEL, f"There is no alias '{alias}'.")
            if target:
                await self._make_ready(target)
            async with self._changing:
                before = self._repository.aliases.get(alias)
                kept = await self._threads.run(self._repository.aliases.set, alias, target)
                if target:
                    log.info("alias set name=%s %s", alias, _described(target))
                else:
                    log.info("alias removed name=%s", alias)
                if before:
                    self._retire_replaced(before.model)
        except BundleError as error:
            raise ServingError(Code.CONFLICT, str(error)) from error
        return kept

    async def _make_ready(self, target: Target) -> None:
        """Load the versions that shall answer and are not ready. Raises ServingError."""
        async with self._changing:
            with contextlib.suppress(OSError):  # `load` reports it; what is known is served
                await self._scan()
            wanted = {version: self._repository.matching(target.model, version) for version in target.answering or [""]}
            if target.shadow:
                self._repository.matching(target.model, target.shadow)[0].skip()
        for version, entries in wanted.items():
            if not any(entry.ready for entry in entries):
                await self.load(target.model, version)

    async def _scan(self) -> None:
        """Note what the model repository holds. Raises OSError where it cannot be read."""
        gone = {entry for entry in self._repository.entries() if entry.gone}
        found = await self._threads.run_or_leave(self._repository.scan)
        if lost := [f"{entry.name}/{entry.version}" for entry in self._repository.update(found) if entry not in gone]:
            log.warning("the files of %s are gone; what is in memory is still served", ", ".join(lost))

    async def _follow_aliases(self) -> None:
        """Take over what the file of aliases says. Versions that an alias moves to are loaded before."""
        try:
            targets = await self._threads.run(self._repository.aliases.read)
        except BundleError as error:
            self._log_once("aliases", f"{error} Until then the aliases stay as they are.")
            return
        self._log_once("aliases", "")
        new = _answering(targets) - _answering(self._repository.aliases.all())
        for entry in self._repository.entries():
            if (entry.name, entry.version) in new and not entry.ready and not entry.gone:
                await self._activator.activate(entry)
        self._repository.aliases.adopt(targets)

    def _log_once(self, subject: str, trouble: str) -> None:
        """Log a trouble when it begins or changes, not at every refresh; "": the subject has none now."""
        if trouble and self._logged.get(subject) != trouble:
            log.warning("%s", trouble)
        self._logged[subject] = trouble

    async def _refresh_model(self, name: str) -> None:
        """Load the newest versions that can be loaded; an older one takes the place of one that fails.

        A version whose files are gone counts as served: that files go away is no reason to load an older version.
        """
        serving = 0
        for entry in reversed(self._repository.versions(name)):
            if entry.changed and (serving < self._keep or self._must_stay(entry)):
                await self._activator.activate(entry)
            else:
                entry.skip()
            serving += entry.is_ready()
        self._retire_replaced(name)

    def _is_pinned(self, entry: Entry) -> bool:
        """Whether an operator wants this very version."""
        return entry.pinned or bool(self._repository.aliases_of(entry))

    def _must_stay(self, entry: Entry) -> bool:
        return not self._keep or self._is_pinned(entry)

    def _retire_replaced(self, name: str) -> None:
        """Retire versions that newer ones have replaced, and those without files once another one is ready."""
        ready = [entry for entry in reversed(self._repository.versions(name)) if entry.ready]
        there = [entry for entry in ready if not entry.gone]
        for entry in there[self._keep :]:
            if not self._must_stay(entry):
                self._retire(entry)
        for entry in [entry for entry in ready if entry.gone and there]:
            if not self._is_pinned(entry):
                self._retire(entry)
                self._repository.forget(entry)

    def _retire(self, entry: Entry) -> None:
        """Unload a version that is not needed now; it may be loaded again."""
        self._activator.deactivate(entry)
        entry.allow_load()


def _answering(targets: Mapping[str, Target]) -> set[tuple[str, str]]:
    """Model and version of all that aliases name to answer."""
    return {(target.model, version) for target in targets.values() for version in target.answering}


def _described(target: Target) -> str:
    shares = "+".join(f"{share.version}:{share.weight:g}%" for share in target.versions)
    shadow = f" shadow={target.shadow}" if target.shadow else ""
    return f"model={target.model} version={shares or target.version or 'newest'}{shadow}"
