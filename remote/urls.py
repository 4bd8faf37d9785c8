"""URLs: which texts are addresses of stores, and how they are shown: without credentials."""

import re

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_URL = re.compile(_SCHEME)
_USER = re.compile(rf"({_SCHEME})[^/?#\s'\"]*@")
_QUERY = re.compile(rf"({_SCHEME}[^\s?#'\"<>]*)[?#][^\s'\"<>]*")


def is_url(text: str) -> bool:
    """Whether it is the address of a store, such as s3://bucket/models, and no path."""
    return _URL.match(text) is not None


def redacted(text: str) -> str:
    """A text in which no URL has a user, a password, a query or a fragment."""
    return _QUERY.sub(r"\1?…", _USER.sub(r"\1…@", text))


def joined(*parts: str) -> str:
    """The parts of a name in a store, with one slash between them; empty parts are left out."""
    return "/".join(part for part in parts if part)
