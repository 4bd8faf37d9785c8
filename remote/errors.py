"""Errors: a store that cannot be used, and content there that is refused. Messages never hold credentials."""

from bundle.errors import BundleError
from remote.urls import redacted


class RemoteError(BundleError):
    """A store, or what is in it, cannot be used. The message is a sentence: the fault, and the cure."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class Unreachable(RemoteError):
    """The store does not answer, or it broke off: the same may work later."""


class Absent(RemoteError):
    """The store has no such object."""


class CannotList(RemoteError):
    """The store does not say what it holds, as plain HTTP does not."""
