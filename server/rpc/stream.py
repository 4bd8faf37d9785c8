"""Stream: many requests over one call, with a limit on those that are not answered yet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")


class Stream(Generic[Request, Response]):
    """On the event loop. A request counts until its answer has been handed to gRPC. So the server stops reading from a
    client that does not read its answers.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Request | None]],
        answer: Callable[[Request], Awaitable[Response]],
        window: int,
        in_order: bool,
    ) -> None:
        """`read` returns None at the end; `answer` does not raise. `window`: most requests not answered yet.

        `in_order`: an answer waits for those of the requests before it.
        """
        self._read = read
        self._answer = answer
        self._in_order = in_order
        self._room = asyncio.Semaphore(window)
        self._outcomes: asyncio.Queue[Response | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def responses(self) -> AsyncIterator[Response]:
        """The answers, as they become ready or in the order of their requests. Raises what `read` raises.

        Closing this early cancels all work.
        """
        reading = asyncio.create_task(self._read_all())
        try:
            while (outcome := await self._outcomes.get()) is not None:
                yield outcome
                self._room.release()
            await reading
        finally:
            for task in (reading, *self._tasks):
                task.cancel()

    async def _read_all(self) -> None:
        try:
            before: asyncio.Task[None] | None = None
            await self._room.acquire()
            while (request := await self._read()) is not None:
                task = asyncio.create_task(self._answer_one(request, before))
                before = task if self._in_order else None
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await self._room.acquire()
            await asyncio.gather(*self._tasks)
        finally:
            self._outcomes.put_nowait(None)

    async def _answer_one(self, request: Request, before: asyncio.Task[None] | None) -> None:
        """`before`: what has to have ended first."""
        outcome = await self._answer(request)
        if before:
            await asyncio.wait((before,))
        self._outcomes.put_nowait(outcome)
