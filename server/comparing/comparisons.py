"""Comparisons: what the versions of an alias answer on live photos, summed over all processes. On the event loop."""

from collections.abc import Awaitable, Callable

from server.comparing.agreement import Pair
from server.comparing.counted import counted
from server.comparing.live import Live
from server.comparing.report import Report, report
from server.errors import Code, ServingError
from server.registry.catalogue import Catalogue
from server.registry.target import Target
from server.scheduling.threads import Threads


class Comparisons:
    """What an operator asks for."""

    def __init__(
        self, live: Live, catalogue: Catalogue, exposition: Callable[[], Awaitable[bytes]], aside: Threads
    ) -> None:
        """`exposition`: the metrics of all processes as text. `aside` reads it."""
        self.live = live
        self._catalogue = catalogue
        self._exposition = exposition
        self._aside = aside

    async def of(self, alias: str) -> Report:
        """Raises ServingError where there is no such alias, or nothing to compare."""
        target = self._target(alias)
        text = (await self._exposition()).decode()
        found = await self._aside.run(counted, text, alias)
        return report(alias, target, found, self._names(target), self._faults(alias, target))

    def _target(self, alias: str) -> Target:
        target = self._catalogue.aliases.get(alias)
        if target is None or alias in self._catalogue.names():
            known = ", ".join(self._catalogue.aliases.all()) or "none"
            raise ServingError(
                Code.UNKNOWN_MODEL,
                f"There is no alias '{alias[:64]}' (there are: {known}). Only versions of an alias are compared.",
            )
        if not target.versions and not target.shadow:
            raise ServingError(
                Code.MALFORMED,
                f"The alias '{alias}' stands for one version: give it versions with weights, or a shadow.",
            )
        return target

    def _names(self, target: Target) -> dict[str, str]:
        """Of the classes of all versions that are ready, by their id."""
        entries = [entry for entry in self._catalogue.versions(target.model) if entry.ready]
        return {label.id: label.name for entry in entries if entry.ready for label in entry.ready.loaded.bundle.labels}

    def _faults(self, alias: str, target: Target) -> dict[tuple[str, str], str]:
        """Of the shadow beside each version that may answer, in this process."""
        if not target.shadow:
            return {}
        newest = [entry.version for entry in self._catalogue.versions(target.model) if entry.ready][-1:]
        versions = [each for each in target.answering or newest if each != target.shadow]
        pairs = [Pair(alias, target.model, version, target.shadow) for version in versions]
        return {(pair.version, pair.shadow): self.live.shadows.fault(pair) for pair in pairs}
