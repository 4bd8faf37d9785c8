"""Object store: S3, Google Cloud Storage and Azure Blob Storage, through obstore."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from remote.errors import Absent, RemoteError, Unreachable
from remote.store import Item, Reading, Report
from remote.urls import joined, redacted

_PART_BYTES = 8 << 20
"""What one request reads or writes. S3 takes parts of 5 MiB or more, and 10 000 of them."""

_CLIENT = {"timeout": "60s", "connect_timeout": "10s"}
_RETRIES: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=60)}


class ObjectStore:
    """Credentials come from the environment that is usual for the store, or from the machine's role."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise RemoteError(f"{redacted(url)} names no bucket: write it as {parts.scheme}://bucket/models.")
        self.url = redacted(url).partition("?")[0].rstrip("/")
        self._folder = parts.path.strip("/")
        self._store = _opened(f"{parts.scheme}://{parts.netloc}", self.url)

    def items(self, folder: str = "") -> Iterator[Item]:
        under = joined(self._folder, folder)
        with _Errors(self.url, "the listing"):
            for page in obstore.list(self._store, prefix=under or None, chunk_size=1000):
                for meta in page:
                    name = meta["path"].removeprefix(f"{self._folder}/") if self._folder else meta["path"]
                    yield Item(name, meta["size"], meta["e_tag"] or meta["last_modified"].isoformat())

    def read(self, name: str, start: int = 0) -> Reading:
        place = joined(self._folder, name)
        with _Errors(self.url, name):
            size = obstore.head(self._store, place)["size"]
        start = start if start < size else 0
        return Reading(start, self._parts(place, name, start, size))

    def write(self, name: str, path: Path, report: Report) -> None:
        place, size = joined(self._folder, name), path.stat().st_size
        with _Errors(self.url, name), path.open("rb") as file:
            if size <= _PART_BYTES:
                obstore.put(self._store, place, file.read(), use_multipart=False)
            else:
                parts = _told(file, report)
                obstore.put(self._store, place, parts, use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=2)
        report(size)

    def remove(self, name: str) -> None:
        with _Errors(self.url, name):
            obstore.delete(self._store, joined(self._folder, name))

    def _parts(self, place: str, name: str, start: int, size: int) -> Iterator[bytes]:
        """One request for each part: a break costs one, and the memory is bounded."""
        for at in range(start, size, _PART_BYTES):
            with _Errors(self.url, name):
                yield bytes(obstore.get_range(self._store, place, start=at, end=min(size, at + _PART_BYTES)))


class _Errors:
    """Turns what obstore raises into our errors."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        if isinstance(error, NotFoundError | FileNotFoundError):
            raise Absent(f"There is no {self._name} in {self._url}: give the URL of a bundle.") from None
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            raise RemoteError(
                f"{self._url} does not let this user at {self._name}: look at the credentials in the environment."
            ) from None
        if isinstance(error, BaseError | OSError):
            raise Unreachable(
                f"{self._url} does not answer for {self._name} ({_why(error)}): try again later, or look at "
                "the credentials in the environment."
            ) from None


def _told(file: BinaryIO, report: Report) -> Iterator[bytes]:
    """The parts of a file, each reported when it is asked for."""
    while part := file.read(_PART_BYTES):
        report(file.tell())
        yield part


def _opened(bucket: str, url: str) -> Any:
    endpoints = [os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")]
    client: Any = dict(_CLIENT)
    if next(filter(None, endpoints), "").startswith("http://"):  # obstore wants to be told
        client["allow_http"] = True
    try:
        return from_url(bucket, client_options=client, retry_config=_RETRIES)
    except (BaseError, ValueError, TypeError) as error:
        raise RemoteError(f"{url} cannot be opened ({_why(error)}): look at the URL and the environment.") from None


def _why(error: BaseException) -> str:
    """The first sentence. What follows is the store's answer, which may hold names of keys."""
    text = str(error).partition("\n")[0].partition("<?xml")[0]
    return redacted(text)[:300].strip() or type(error).__name__
