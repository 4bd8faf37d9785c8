"""AllowedCatalogue: the catalogue as a key sees it that may use only some of the models."""

from server.errors import Code, ServingError
from server.keys.key import Key
from server.registry.catalogue import AliasTable, Catalogue
from server.registry.entry import Entry
from server.registry.target import Target


def seen_by(catalogue: Catalogue, key: Key | None) -> Catalogue:
    """What a request with this key may know and use; all of it where there is no key, or one for all models."""
    if key is None or key.models is None:
        return catalogue
    return AllowedCatalogue(catalogue, key.models)


class _AllowedAliases:
    """All aliases can be looked up, so that one that leads to another model is FORBIDDEN; those allowed are listed."""

    def __init__(self, whole: AliasTable, models: frozenset[str]) -> None:
        self._whole = whole
        self._models = models

    def get(self, name: str) -> Target | None:
        return self._whole.get(name)

    def all(self) -> dict[str, Target]:
        return {name: target for name, target in self._whole.all().items() if target.model in self._models}


class AllowedCatalogue(Catalogue):
    """Made for one request. Lists have only the allowed models. Whoever asks for another one gets FORBIDDEN, by its
    name or through an alias, and whether or not it exists.
    """

    def __init__(self, whole: Catalogue, models: frozenset[str]) -> None:
        super().__init__(whole.default_model)
        self._entries = [entry for entry in whole.entries() if entry.name in models]
        self._models = models
        self.aliases = _AllowedAliases(whole.aliases, models)

    def versions(self, name: str) -> list[Entry]:
        if name not in self._models:
            allowed = f"use {', '.join(sorted(self._models))}" if self._models else "it may use none"
            raise ServingError(Code.FORBIDDEN, f"This key may not use the model '{name[:64]}': {allowed}.")
        return super().versions(name)
