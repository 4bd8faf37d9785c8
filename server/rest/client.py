"""Client: whoever is at the other end of a connection. Work for it is cancelled when it disconnects."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Scope

_EXTENSION = "sesame.client"


class Client:
    """One for each connection, in the scope of its requests. All of it runs on the event loop."""

    def __init__(self) -> None:
        self.gone = False
        self.resume_reading: Callable[[], object] = lambda: None  # while nothing is read, its leaving is not noticed
        self.has_sent_all: Callable[[], bool] = lambda: False  # of the request that is being answered
        self._work: asyncio.Task[Any] | None = None

    @property
    def extensions(self) -> dict[str, dict[object, object]]:
        """For the scope of a request, so that its handler knows this client."""
        return {_EXTENSION: self}  # type: ignore[dict-item]  # ASGI has a dictionary there

    def leave(self) -> None:
        """It has disconnected."""
        self.gone = True
        if self._work is not None:
            self._work.cancel()

    def begin(self) -> None:
        """The current task works for it now."""
        self.resume_reading()
        self._work = asyncio.current_task()

    def end(self) -> None:
        self._work = None


def client_of(scope: Scope) -> Client:
    """The client of a request."""
    client: Client = scope["extensions"][_EXTENSION]
    return client


class CancelledIfGone:
    """A context manager that cancels its body when the client disconnects, and raises ClientDisconnect then.

    The HTTP server does not cancel handlers by itself. Use it once the body of the request has been read.
    """

    def __init__(self, scope: Scope) -> None:
        self._client = client_of(scope)

    def __enter__(self) -> None:
        if self._client.gone:
            raise ClientDisconnect
        self._client.begin()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._client.end()
        if kind is asyncio.CancelledError and self._client.gone:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            raise ClientDisconnect from None
