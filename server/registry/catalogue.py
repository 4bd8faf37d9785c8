"""Catalogue: the model versions that the server knows, and which of them a request means."""

from typing import Protocol

from server.errors import Code, ServingError
from server.registry.entry import Entry, State
from server.registry.loader import ReadyModel
from server.registry.target import Target

_WHY_NOT = {
    State.LOADING: "is still loading: try again in a moment",
    State.FAILED: "failed to load: see /models",
    State.UNLOADED: "is not loaded in this version: see /models for those that are",
}

_NAMED = 10  # versions that an error names, the newest


class AliasTable(Protocol):
    """What aliases stand for."""

    def get(self, name: str) -> Target | None: ...

    def all(self) -> dict[str, Target]: ...


class Catalogue:
    """Chooses among the versions. Who makes them known fills it. Runs on the event loop."""

    aliases: AliasTable

    def __init__(self, default_model: str) -> None:
        self.default_model = default_model
        self._entries: list[Entry] = []

    def entries(self) -> list[Entry]:
        """All versions, by name and then number."""
        return list(self._entries)

    def names(self) -> list[str]:
        return list(dict.fromkeys(entry.name for entry in self._entries))

    def versions(self, name: str) -> list[Entry]:
        """The versions of a model, ascending; raises ServingError where there is none of that name."""
        found = [entry for entry in self._entries if entry.name == name]
        if not found:
            raise ServingError(
                Code.UNKNOWN_MODEL, f"There is no model '{name[:64]}': choose one of {', '.join(self.names())}."
            )
        return found

    def matching(self, name: str, version: str) -> list[Entry]:
        """The versions of a model, ascending: only the one of that number where a version is given.

        Raises ServingError where there is none.
        """
        candidates = self.versions(name)
        if version:
            if not (version.isascii() and version.isdecimal()):
                raise ServingError(Code.MALFORMED, "A version must be a whole number, such as 1.")
            known = ", ".join(entry.version for entry in candidates[-_NAMED:])
            candidates = [entry for entry in candidates if entry.version == version]
            if not candidates:
                raise ServingError(
                    Code.UNKNOWN_MODEL, f"The model has no version {version[:20]}: choose one of {known}."
                )
        return candidates

    def pick(self, name: str, version: str, identity: str | None = None) -> ReadyModel:
        """The model version that a request means; raises ServingError where it is unknown, unclear or not ready.

        `identity`: whose request it is, where versions share callers. Another one of them stands in for the caller's
        own while that is not ready or its engine fails. None: nobody's, which means the version with most callers.
        """
        candidates = self.meant(name, version)
        found = self.alias(name)
        if found and identity is not None and found[1].versions:
            order = found[1].preferred(found[0], identity)
            candidates.sort(key=lambda entry: (entry.answers(), -order.index(entry.version)))
        ready = [entry.ready for entry in candidates if entry.ready]
        if not ready:
            states = {entry.state for entry in candidates}
            what = next(what for state, what in _WHY_NOT.items() if state in states)
            raise ServingError(Code.NOT_READY, f"The model '{candidates[0].name}' {what}.", retry_after_s=1)
        return ready[-1]

    def meant(self, name: str, version: str) -> list[Entry]:
        """The versions that a request may mean, ready or not, ascending; raises ServingError where there is none, or
        where several models are there and none is named.
        """
        return self.resolve(name or self._only_model(), version)

    def resolve(self, name: str, version: str) -> list[Entry]:
        """The versions that a model's name or an alias stands for, ascending. Raises as `matching` does.

        Where versions share callers, those that answer come last, and among equals the one with most callers.
        """
        target = self._target(name, version)
        if not target.versions:
            return self.matching(target.model, target.version)
        found = [entry for entry in self.versions(target.model) if entry.version in target.answering]
        found.sort(key=lambda entry: (entry.answers(), entry.version == target.main))
        return found or self.matching(target.model, target.main)

    def alias(self, name: str) -> tuple[str, Target] | None:
        """The alias whose versions share callers or have a shadow that a request of this name means, if it means one.

        `name`: of a model or an alias; "": the default.
        """
        alias = name or self.default_model
        target = self.aliases.get(alias)
        if target is None or not (target.versions or target.shadow) or alias in self.names():
            return None
        return alias, target

    def sick(self) -> list[ReadyModel]:
        """Those whose engine fails at present."""
        return [entry.ready for entry in self._entries if entry.ready and not entry.answers()]

    def unserved(self) -> list[str]:
        """The models without a ready version whose versions all failed or still load: an operator unloaded none."""
        by_name = {name: self.versions(name) for name in self.names()}
        return [
            name
            for name, versions in by_name.items()
            if not any(entry.ready for entry in versions)
            and all(entry.state in (State.LOADING, State.FAILED) for entry in versions)
        ]

    def aliases_of(self, entry: Entry) -> list[str]:
        """The aliases whose callers this very version answers, or some of them."""
        targets = self.aliases.all().items()
        return [alias for alias, at in targets if at.model == entry.name and entry.version in at.answering]

    def _target(self, name: str, version: str) -> Target:
        target = None if name in self.names() else self.aliases.get(name)
        if target is None:
            return Target(name, version)
        if version:
            raise ServingError(Code.MALFORMED, f"The alias '{name}' stands for a version: leave version out.")
        return target

    def _only_model(self) -> str:
        names = [self.default_model] if self.default_model else self.names()
        if not names:
            raise ServingError(Code.NOT_READY, "No model is served here at present.", retry_after_s=1)
        if len(names) > 1:
            raise ServingError(Code.MALFORMED, f"Say which model: {', '.join(names)}.")
        return names[0]
