"""Listing: the versions in a store, whether its URL is that of a version, of a model or of a model repository."""

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice

from bundle.names import NAME
from remote.contents import MANIFEST, MOST_MANIFEST_BYTES, named_files, read_manifest
from remote.errors import Absent, CannotList, RemoteError
from remote.store import Item, Store, content

ALIASES = "aliases.json"
MOST_ITEMS = 200_000
"""Objects that are looked at. A model repository has some hundred."""

_PLACE = re.compile(rf"(?:(?:(?P<name>{NAME.pattern})/)?(?P<version>[1-9][0-9]{{0,17}})/)?(?P<file>[^/]+)")


@dataclass(frozen=True)
class Version:
    """A version in a store. `folder` is where its files are, relative to the store's URL, and "" for the URL itself.

    `items`: its files with their names in the folder, sorted. A store that cannot list shows the manifest alone.
    """

    name: str
    version: str
    folder: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Listing:
    """What a store holds: versions by name and number, and the file of aliases beside them."""

    versions: tuple[Version, ...]
    aliases: Item | None = None


def listing(store: Store) -> Listing:
    """Folders without a manifest are left out: a push puts it there last.

    Raises RemoteError where there is no version, or more objects than are looked at.
    """
    try:
        found = _grouped(store)
    except CannotList:
        return Listing((_only(store, ()),))
    if any(item.name == MANIFEST for item in found.get(("", ""), ())):
        return Listing((_only(store, tuple(sorted(found["", ""]))),))
    versions = [
        Version(name or _last(store.url), version, f"{name}/{version}" if name else version, tuple(sorted(items)))
        for (name, version), items in found.items()
        if version and any(item.name == MANIFEST for item in items)
    ]
    if not versions:
        raise Absent(f"{store.url} holds no bundle: give the URL of a model repository, of a model or of a version.")
    aliases = next((item for item in found.get(("", ""), ()) if item.name == ALIASES), None)
    return Listing(tuple(sorted(versions, key=lambda each: (each.name, int(each.version)))), aliases)


def _grouped(store: Store) -> dict[tuple[str, str], list[Item]]:
    """The objects by name and version of their folder, each "" where the place has none; others are left out."""
    found: dict[tuple[str, str], list[Item]] = defaultdict(list)
    items = store.items()
    for item in islice(items, MOST_ITEMS):
        if place := _PLACE.fullmatch(item.name):
            key = (place["name"] or "", place["version"] or "")
            found[key].append(item._replace(name=place["file"]))
    if next(items, None) is not None:
        raise RemoteError(
            f"{store.url} holds more than {MOST_ITEMS} objects: give the URL of the model repository alone."
        )
    return found


def _only(store: Store, items: tuple[Item, ...]) -> Version:
    """The version that the store's URL is itself. Its manifest says which."""
    text = content(store, MANIFEST, MOST_MANIFEST_BYTES)
    manifest = read_manifest(text)
    named_files(manifest)
    alone = (Item(MANIFEST, len(text), hashlib.sha256(text).hexdigest()),)
    return Version(manifest.name, manifest.version, "", items or alone)


def _last(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]
