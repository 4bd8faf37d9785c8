"""Decoders: encoded photos to pixels, on threads of their own, and how long that will take."""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bundle import images
from bundle.errors import ImageError
from bundle.headers import read_header
from bundle.headers.header import Header
from bundle.images import Picture
from bundle.manifest import Preprocessing
from server.errors import Code, ServingError
from server.pace import Pace
from server.threads import Threads
from server.waiting import Caller

log = logging.getLogger(__name__)

_AT_ONCE_BYTES = 1 << 20
"""So much is looked at on the event loop, in less than a millisecond: the way to a thread and back takes longer."""

_LARGE_WORK = 16.0
"""Photos that cost as much as so many ordinary ones never have all of the decode threads."""


@dataclass(frozen=True, slots=True)
class Photo:
    """An encoded photo, its SHA-256, and what its header says, or what is wrong with it."""

    encoded: bytes
    digest: bytes
    header: Header | ServingError

    @property
    def work(self) -> float:
        """What decoding costs; an ordinary photo is 1. Nothing where it will not be decoded."""
        return 0.0 if isinstance(self.header, ServingError) else self.header.work


class Decoders:
    """As many photos are decoded at once as there are threads. Callers take turns, by the work that they bring."""

    def __init__(
        self,
        threads: int,
        aside: Threads,
        max_image_bytes: int,
        max_pixels: int,
        exact: bool,
        limit_s: float = math.inf,
    ) -> None:
        """`aside` is where large photos are looked at.

        `exact`: pixel for pixel as in training, instead of fast (see `bundle.images.to_picture`). `limit_s`: a decode
        that takes longer is given up.
        """
        self._max_image_bytes = max_image_bytes
        self._exact = exact
        self._threads = Threads(threads, "decode", large=_LARGE_WORK)
        self._aside = aside
        self._max_pixels = max_pixels
        self._limit_s = limit_s
        self._pace = _pace(1e-3)

    def warm_up(self, preprocessing: Preprocessing) -> None:
        """Measure how long an ordinary photo takes; slow, and for any thread."""
        encoded = images.sample_jpeg()
        header = read_header(encoded, self._max_pixels)
        measured_s = min(_timed_decode(encoded, header, preprocessing, self._exact)[1] for _ in range(3)) / header.work
        if measured_s > self._pace.seconds(1):
            self._pace = _pace(measured_s)

    async def examine(self, encoded: Sequence[bytes], caller: Caller) -> list[Photo]:
        """Read the headers, and hash. What is no acceptable photo is told by its `header`."""
        if sum(map(len, encoded)) <= _AT_ONCE_BYTES:
            return [self._examined(each) for each in encoded]
        jobs = (
            self._aside.run(self._examined, each, caller=caller, work=1 + len(each) / _AT_ONCE_BYTES)
            for each in encoded
        )
        return list(await asyncio.gather(*jobs))

    async def decode(self, photo: Photo, preprocessing: Preprocessing, caller: Caller) -> tuple[Picture, float]:
        """The pixels, and the seconds that they took. Raises ServingError for what is no acceptable photo."""
        if isinstance(photo.header, ServingError):
            raise photo.header.fresh()
        picture, seconds = await self._threads.run(
            _timed_decode, photo.encoded, photo.header, preprocessing, self._exact, caller=caller, work=photo.work
        )
        self._pace.saw(photo.work, seconds)
        return picture, seconds

    def ready_in_s(self, work: Sequence[float], caller: Caller) -> float:
        """How long until so much more work of a caller is done; `work` of each photo."""
        if not work:
            return 0.0
        return self._pace.seconds(max(*work, self._threads.done_in(sum(work), caller)))

    def left_s(self) -> float:
        """How long until all photos that wait, or are being decoded, are done."""
        return self._pace.seconds(self._threads.left())

    def give_up_slow(self) -> int:
        """Answer the callers of photos that take too long, and replace their threads; returns how many there were."""
        error = ServingError(Code.DECODE_LIMIT, "Decoding the image took too long: save it again as an ordinary JPEG.")
        slow = self._threads.give_up(self._limit_s, error)
        for seconds in slow:
            log.error("a photo was given up after %.0f s in its decode thread", seconds)
        return len(slow)

    def waits(self) -> int:
        """Photos that wait for a decode thread."""
        return self._threads.waits()

    @property
    def lost(self) -> int:
        """Threads that do not come back from a photo that was given up."""
        return self._threads.lost

    @property
    def failing(self) -> bool:
        """Whether so many threads are lost that only a new process helps."""
        return 2 * self._threads.lost > self._threads.count

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    def _examined(self, encoded: bytes) -> Photo:
        if len(encoded) > self._max_image_bytes:
            detail = f"The image has {len(encoded)} bytes: send at most {self._max_image_bytes}."
            return Photo(encoded, b"", ServingError(Code.TOO_LARGE, detail))
        digest = hashlib.sha256(encoded).digest()
        try:
            return Photo(encoded, digest, read_header(encoded, self._max_pixels))
        except ImageError as error:
            return Photo(encoded, digest, ServingError.of_image(error))


def _pace(ordinary_s: float) -> Pace:
    """Decoding takes as long as its work says."""
    return Pace({0: 0.0, 1: ordinary_s})


def _timed_decode(encoded: bytes, header: Header, preprocessing: Preprocessing, exact: bool) -> tuple[Picture, float]:
    started_s = time.perf_counter()
    try:
        picture = images.decode(encoded, header, preprocessing, exact)
    except ImageError as error:
        raise ServingError.of_image(error) from error
    return picture, time.perf_counter() - started_s
