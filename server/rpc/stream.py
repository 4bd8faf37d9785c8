"""Stream: many photos over one call, no more of them at a time than the window has room for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from server.pb.sesame.v1 import classifier_pb2 as pb

Photo = TypeVar("Photo")


class Stream(Generic[Photo]):
    """A photo's room is free again when the answer was handed on, so a client that does not read is not read from."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Photo | None]],
        answer: Callable[[Photo], Awaitable[pb.StreamResponse]],
        window: int,
    ) -> None:
        """`read` returns None at the end; `answer` does not raise."""
        self._read = read
        self._answer = answer
        self._room = asyncio.Semaphore(window)
        self._outcomes: asyncio.Queue[pb.StreamResponse | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def responses(self) -> AsyncIterator[pb.StreamResponse]:
        """Each photo's, as it is ready; raises what `read` does. Closing this early cancels all that is under way."""
        reading = asyncio.create_task(self._begin_all())
        try:
            while (outcome := await self._outcomes.get()) is not None:
                yield outcome
                self._room.release()
            await reading
        finally:
            for task in (reading, *self._tasks):
                task.cancel()

    async def _begin_all(self) -> None:
        try:
            await self._room.acquire()
            while (photo := await self._read()) is not None:
                task = asyncio.create_task(self._put(photo))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await self._room.acquire()
            await asyncio.gather(*self._tasks)
        finally:
            self._outcomes.put_nowait(None)

    async def _put(self, photo: Photo) -> None:
        self._outcomes.put_nowait(await self._answer(photo))
