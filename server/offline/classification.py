"""Classification: photo files in, their outcomes out, in the order of the files and with all cores busy."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from server.answers import Answer
from server.errors import Code, ServingError
from server.offline.local_model import LocalModel
from server.offline.photo_files import PhotoFile, unreadable
from server.scheduling.fair_queue import Caller
from server.scheduling.threads import Threads
from server.service import RequestOptions
from server.watch import Watch

_READERS = 2
_LOOK_EVERY_S = 0.5
_LONG_S = 365 * 86_400.0  # a deadline that no photo misses


class Hung(Exception):
    """An engine does not answer, or decode threads do not. The message says which."""


@dataclass(frozen=True)
class Failure:
    """Why a photo has no predictions. `code`: as in the server's errors, or `unreadable` for a file of this machine."""

    code: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    path: Path
    result: Answer | Failure


class Classification:
    """Photos of one model. Runs on the event loop; files are read, decoded and computed in threads."""

    def __init__(self, model: LocalModel, top_k: int | None) -> None:
        """`top_k`: classes of each answer; None: five, or all if there are fewer."""
        self._model = model
        self._classifier = model.serve()
        self._readers = Threads(_READERS, "read")
        self._options = RequestOptions(
            time.monotonic() + _LONG_S, Caller(), model.entry.name, model.entry.version, top_k
        )

    async def outcomes(self, files: Sequence[PhotoFile]) -> AsyncGenerator[Outcome, None]:
        """Each as soon as those before it are there. Raises Hung."""
        watching = asyncio.create_task(_watch(self._model.watches()))
        under_way: deque[asyncio.Task[Outcome]] = deque()
        try:
            for file in files:
                under_way.append(asyncio.create_task(self._outcome(file)))
                if len(under_way) >= self._model.ahead:
                    yield await _first(under_way.popleft(), watching)
            while under_way:
                yield await _first(under_way.popleft(), watching)
        finally:
            for task in (watching, *under_way):
                task.cancel()

    async def _outcome(self, file: PhotoFile) -> Outcome:
        if file.fault:
            return Outcome(file.path, Failure("unreadable", file.fault))
        try:
            encoded = await self._readers.run(
                _read, file.path, self._classifier.limits.max_image_bytes, caller=self._options.caller
            )
            (result,) = (await self._classifier.classify([encoded], self._options)).outcomes
        except OSError as error:
            return Outcome(file.path, Failure("unreadable", unreadable(error)))
        except ServingError as error:
            result = error
        if isinstance(result, ServingError):
            return Outcome(file.path, Failure(result.code, result.detail))
        return Outcome(file.path, result)


def _read(path: Path, max_bytes: int) -> bytes:
    """In a reading thread. Never takes more than a little above the limit into memory."""
    with path.open("rb") as file:
        encoded = file.read(max_bytes + 1)
    if len(encoded) > max_bytes:
        raise ServingError(
            Code.TOO_LARGE, f"It has more than {max_bytes} bytes: raise --max-image-bytes, or save it smaller."
        )
    return encoded


async def _first(task: "asyncio.Task[Outcome]", watching: "asyncio.Task[NoReturn]") -> Outcome:
    """The outcome; raises Hung where that would never come."""
    await asyncio.wait((task, watching), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        await watching
    return task.result()


async def _watch(watches: Sequence[Watch]) -> NoReturn:
    while True:
        for watch in watches:
            watch.look()
            if watch.complaint:
                watch.give_up()
                raise Hung(watch.complaint)
        await asyncio.sleep(_LOOK_EVERY_S)
