"""Opening: the store that a URL, or the path of a folder, means."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from remote.errors import RemoteError
from remote.store import Store, WritableStore
from remote.stores.folder import FolderStore
from remote.stores.hub import HubStore
from remote.stores.web import WebStore
from remote.urls import is_url, redacted

_OBJECTS = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_KNOWN = "s3, gs, az, https, http, hf or file"


def open_store(url: str) -> Store:
    """Raises RemoteError where the URL is not understood, or the package for its scheme is not installed.

    Nothing is asked of the store yet.
    """
    if not is_url(url):
        return FolderStore(Path(url))
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is looked at when it is asked for
    except ValueError:
        raise RemoteError("The URL cannot be understood: write it as s3://bucket/models.") from None
    scheme = parts.scheme.lower()
    if scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if scheme in ("http", "https"):
        return WebStore(url)
    if scheme == "hf":
        return HubStore(url)
    if scheme in _OBJECTS:
        return _object_store(url, scheme)
    raise RemoteError(f"{redacted(url)} has an unknown scheme: it must be {_KNOWN}.")


def open_writable(url: str) -> WritableStore:
    """As `open_store`. Raises RemoteError too where nothing can be put there."""
    store = open_store(url)
    if not isinstance(store, WritableStore):
        raise RemoteError(
            f"Nothing can be pushed to {redacted(url)}: push to s3, gs, az or a folder; for the Hugging Face hub use "
            "its own command, 'hf upload'."
        )
    return store


def _object_store(url: str, scheme: str) -> Store:
    try:
        from remote.stores.objects import ObjectStore
    except ModuleNotFoundError as error:
        raise RemoteError(
            f"{scheme}:// needs the package {error.name}: install it with 'pip install obstore', or Sesame with its "
            "extra 'remote'."
        ) from error
    return ObjectStore(url)
