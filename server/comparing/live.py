"""Live: counts what the versions of aliases answer, and has copies computed by their shadows. On the event loop."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import Metric
from prometheus_client.registry import Collector

from bundle.images import Picture
from server.comparing import exposed
from server.comparing.agreement import Agreement, Pair
from server.comparing.shadows import Shadows
from server.comparing.usage import Classes, Usage
from server.registry.catalogue import Catalogue
from server.registry.loader import ReadyModel
from server.registry.target import Target
from server.scheduling.batch import Row

log = logging.getLogger(__name__)


class _Watched:
    """See `server.admitted.Observer`: a request for an alias that one of its versions answers."""

    __slots__ = ("_agreement", "_pair", "_ready", "_shadows", "_usage")

    def __init__(
        self, ready: ReadyModel, usage: Usage | None, shadows: Shadows, pair: Pair | None, agreement: Agreement | None
    ) -> None:
        self._ready = ready
        self._usage = usage
        self._shadows = shadows
        self._pair = pair
        self._agreement = agreement

    def computed(self, picture: Picture, row: Row) -> None:
        if self._pair and self._agreement:
            with _harmless():
                self._shadows.offer(self._pair, self._ready, picture, row, self._agreement)

    def ended(self, outcome: str, row: Row | None) -> None:
        if self._usage:
            with _harmless():
                self._usage.add(outcome, row)


@contextmanager
def _harmless() -> Iterator[None]:
    """What counts answers must not spoil them."""
    try:
        yield
    except Exception:
        log.exception("an answer was not counted: this is a bug")


class Live(Collector):
    """Counts from when an alias has its versions; other versions begin at 0. A collector of Prometheus."""

    def __init__(self, catalogue: Catalogue, shadows: Shadows) -> None:
        self.shadows = shadows
        self._catalogue = catalogue
        self._targets: dict[str, Target] = {}  # as last seen
        self._classes: dict[str, Classes] = {}
        self._usages: dict[tuple[str, str], Usage] = {}  # by alias and version
        self._agreements: dict[Pair, Agreement] = {}

    def watch(self, name: str, ready: ReadyModel) -> _Watched | None:
        """See `server.admitted.Observe`. Never raises: the request holds permits already."""
        try:
            found = self._catalogue.alias(name)
            return self._watched(*found, ready) if found else None
        except Exception:
            log.exception("a request is not counted: this is a bug")
            return None

    def _watched(self, alias: str, target: Target, ready: ReadyModel) -> _Watched:
        self._observe(alias, target)
        version = ready.loaded.bundle.manifest.version
        usage = self._usage(alias, version, ready) if target.versions else None
        if not target.shadow or target.shadow == version:
            return _Watched(ready, usage, self.shadows, None, None)
        pair = Pair(alias, target.model, version, target.shadow)
        return _Watched(ready, usage, self.shadows, pair, self._agreements.setdefault(pair, Agreement()))

    def collect(self) -> Iterable[Metric]:
        """What was counted of the aliases as they are now."""
        aliases = self._catalogue.aliases.all()
        for alias in [*self._targets]:
            self._observe(alias, aliases.get(alias))
        return exposed.families(self._named(aliases), self._agreements)

    def _named(self, aliases: Mapping[str, Target]) -> Iterator[tuple[exposed.Version, Usage]]:
        for (alias, version), usage in self._usages.items():
            yield (alias, aliases[alias].model, version), usage

    def _usage(self, alias: str, version: str, ready: ReadyModel) -> Usage:
        usage = self._usages.get((alias, version))
        if usage is None or not usage.is_of(ready):
            classes = self._classes.setdefault(alias, Classes())
            usage = self._usages[alias, version] = Usage(ready, classes)
        return usage

    def _observe(self, alias: str, target: Target | None) -> None:
        """Forget what was counted of versions that the alias has no more."""
        before = self._targets.get(alias)
        if target is before:
            return
        if before and (target is None or (target.model, target.answering) != (before.model, before.answering)):
            self._classes.pop(alias, None)
            self._usages = {key: usage for key, usage in self._usages.items() if key[0] != alias}
            self._drop(alias)
        elif before and target and target.shadow != before.shadow:
            self._drop(alias)
        if target is None:
            del self._targets[alias]
        else:
            self._targets[alias] = target

    def _drop(self, alias: str) -> None:
        self._agreements = {pair: sums for pair, sums in self._agreements.items() if pair.alias != alias}
