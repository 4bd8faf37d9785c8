"""Web store: files of a web server, over HTTP. They can be read, not listed and not written."""

import base64
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from remote.errors import Absent, CannotList, RemoteError, Unreachable
from remote.store import CHUNK_BYTES, Item, Reading
from remote.urls import joined, redacted

_TIMEOUT_S = 30.0  # without a byte
_PATIENCE_S, _LEAST_BYTES_A_SECOND = 60.0, 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 10


def _opener() -> urllib.request.OpenerDirector:
    """One that follows no redirects by itself, and opens nothing but HTTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()


class WebStore:
    """A user and password in the URL are sent to its host alone, and a query is kept for every file.

    `headers` are sent to that host alone, too.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        if not parts.hostname:
            raise RemoteError(f"{redacted(url)} has no host: write it as https://host/models/demo/1.")
        self._host = parts.netloc.rpartition("@")[2]
        self._parts = parts._replace(netloc=self._host, path=parts.path.rstrip("/"), fragment="")
        self.url = urlunsplit(self._parts._replace(query=""))
        self._headers = dict(headers or {})
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def items(self, folder: str = "") -> Iterator[Item]:
        raise CannotList(f"{self.url} has no listing: give the URL of a version's folder.")

    def read(self, name: str, start: int = 0) -> Reading:
        address = urlunsplit(self._parts._replace(path=joined(self._parts.path, quote(name))))
        answer = self.answer(address, name, start)
        if start and answer.status == 206:
            begins, size = _range_of(answer)
            if begins == start:
                return Reading(start, _chunks(answer, self.url, name, size - start, time.monotonic()))
            answer.close()
            return self.read(name)
        return Reading(0, _chunks(answer, self.url, name, _length(answer), time.monotonic()))

    def answer(self, address: str, name: str, start: int = 0) -> http.client.HTTPResponse:
        """The open answer to a GET, after redirects. Raises as `Store.read` does."""
        for _ in range(_MOST_REDIRECTS):
            try:
                answer: http.client.HTTPResponse = _OPENER.open(self._request(address, start), timeout=_TIMEOUT_S)
                return answer
            except urllib.error.HTTPError as error:
                error.close()  # its body is not read: it may have no end
                if error.code in _REDIRECTS:
                    address = self._followed(address, error.headers.get("Location", ""))
                elif error.code == 416 and start:
                    start = 0
                else:
                    raise _refused(self.url, name, error.code) from None
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{self.url} cannot be reached ({_why(error)}): try again later.") from None
        raise RemoteError(f"{self.url} redirects more than {_MOST_REDIRECTS} times: give another URL.")

    def _request(self, address: str, start: int) -> urllib.request.Request:
        headers = {"Accept-Encoding": "identity", "User-Agent": "sesame"}
        if urlsplit(address)[:2] == (self._parts.scheme, self._host):
            headers |= self._headers
        if start:
            headers["Range"] = f"bytes={start}-"
        return urllib.request.Request(address, headers=headers)

    def _followed(self, address: str, location: str) -> str:
        """Where a redirect leads. Never to anything but HTTP, and never from https to http."""
        try:
            following = urljoin(address, quote(location, safe="/:?#[]@!$&'()*+,;=%~"))
            before, after = urlsplit(address).scheme, urlsplit(following).scheme
        except ValueError:
            raise RemoteError(f"{self.url} redirects to nowhere: give another URL.") from None
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise RemoteError(f"{self.url} redirects from {before} to {after or 'nowhere'}, which is refused.")
        return following


def _chunks(
    answer: http.client.HTTPResponse, url: str, name: str, length: int | None, began_s: float
) -> Iterator[bytes]:
    """`length`: how many bytes have to come, where the answer says so. `began_s`: by the monotonic clock."""
    came = 0
    with answer:
        try:
            while chunk := answer.read1(CHUNK_BYTES):
                came += len(chunk)
                lasted_s = time.monotonic() - began_s
                if lasted_s > _PATIENCE_S and came < lasted_s * _LEAST_BYTES_A_SECOND:
                    raise Unreachable(f"{url} sent {came} bytes of {name} in {lasted_s:.0f} s: try again later.")
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{url} broke off while {name} was read ({_why(error)}): try again.") from None
    if length is not None and came < length:
        raise Unreachable(f"{url} broke off after {came} of {length} bytes of {name}: try again.")


def _length(answer: http.client.HTTPResponse) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _range_of(answer: http.client.HTTPResponse) -> tuple[int, int]:
    """Where a part begins, and the size of the whole; (-1, 0) where the answer does not say it."""
    text = answer.headers.get("Content-Range", "")
    begins, _, rest = text.removeprefix("bytes ").partition("-")
    size = rest.rpartition("/")[2]
    if not all(number.isascii() and number.isdecimal() for number in (begins, size)):
        return -1, 0
    return int(begins), int(size)


def _refused(url: str, name: str, status: int) -> RemoteError:
    if status in (404, 410):
        return Absent(f"There is no {name} at {url}: give the URL of a version's folder.")
    if status in (401, 403):
        return RemoteError(f"{url} does not let this user read {name} (HTTP {status}): see its credentials.")
    if status == 429 or status >= 500:
        return Unreachable(f"{url} cannot answer now (HTTP {status}): try again later.")
    return RemoteError(f"{url} answers HTTP {status} for {name}: give another URL.")


def _why(error: BaseException) -> str:
    reason: Any = getattr(error, "reason", None) or error
    return redacted(str(getattr(reason, "strerror", None) or reason)) or type(error).__name__
