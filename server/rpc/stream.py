"""Stream: many photos over one call, with a limit on those that are not answered yet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from server.pb.sesame.v1 import classifier_pb2 as pb

Photo = TypeVar("Photo")


class Stream(Generic[Photo]):
    """On the event loop. A photo counts until its answer has been handed to gRPC. So the server stops reading from a
    client that does not read its answers.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Photo | None]],
        answer: Callable[[Photo], Awaitable[pb.StreamResponse]],
        window: int,
    ) -> None:
        """`read` returns None at the end; `answer` does not raise. `window`: most photos that are not answered yet."""
        self._read = read
        self._answer = answer
        self._room = asyncio.Semaphore(window)
        self._outcomes: asyncio.Queue[pb.StreamResponse | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def responses(self) -> AsyncIterator[pb.StreamResponse]:
        """The answers, as they become ready. Raises what `read` raises. Closing this early cancels all work."""
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
            await self._room.acquire()
            while (photo := await self._read()) is not None:
                task = asyncio.create_task(self._answer_one(photo))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await self._room.acquire()
            await asyncio.gather(*self._tasks)
        finally:
            self._outcomes.put_nowait(None)

    async def _answer_one(self, photo: Photo) -> None:
        self._outcomes.put_nowait(await self._answer(photo))
