"""Decoders: turn encoded photos into pixels, on threads of their own, and predict how long that takes."""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bundle import images
from bundle.errors import ImageError
from bundle.headers import read_header
from bundle.headers.header import Header
from bundle.images import Picture
from bundle.manifest import Preprocessing
from server.errors import Code, ServingError
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import Forecast
from server.scheduling.latency import LatencyModel
from server.scheduling.threads import Threads

log = logging.getLogger(__name__)

_AT_ONCE_BYTES = 1 << 20
"""Photos of up to so many bytes together are examined on the event loop, in less than a millisecond: to hand them to a
thread would take longer."""

_LARGE_WORK = 16.0
"""Photos that cost more than so many ordinary ones never occupy all decode threads."""


@dataclass(frozen=True, slots=True)
class Photo:
    """An encoded photo, its SHA-256, and its header, or the error why it is refused."""

    encoded: bytes
    digest: bytes
    header: Header | ServingError

    @property
    def work(self) -> float:
        """What decoding costs, where an ordinary photo costs 1; 0 for a photo that is refused."""
        return 0.0 if isinstance(self.header, ServingError) else self.header.work


class Decoded(NamedTuple):
    """`began_at_s`: when a thread began with it, on the monotonic clock. It took so many `seconds`."""

    picture: Picture
    began_at_s: float
    seconds: float


class Decoders:
    """Decodes as many photos at once as there are threads. Callers take turns, weighed by the work of their photos.

    All of it is called on the event loop, but for `warm_up`.
    """

    def __init__(
        self,
        threads: int,
        aside: Threads,
        max_image_bytes: int,
        max_pixels: int,
        exact: bool,
        limit_s: float = math.inf,
    ) -> None:
        """`aside` examines large photos.

        `exact`: resize pixel for pixel as in training, instead of fast (see `bundle.images.to_picture`). `limit_s`: a
        decode that takes longer is given up.
        """
        self._max_image_bytes = max_image_bytes
        self._exact = exact
        self._threads = Threads(threads, "decode", large=_LARGE_WORK)
        self._aside = aside
        self._max_pixels = max_pixels
        self._limit_s = limit_s
        self._latency = _latency(1e-3)

    def warm_up(self, preprocessing: Preprocessing) -> None:
        """Measure how long an ordinary photo takes. Slow: for a thread.

        The slowest measurement of all models counts. The new LatencyModel replaces the old one in one assignment, so
        the event loop sees either of them.
        """
        encoded = images.sample_jpeg()
        header = read_header(encoded, self._max_pixels)
        decoded = [_timed_decode(encoded, header, preprocessing, self._exact) for _ in range(3)]
        measured_s = min(each.seconds for each in decoded) / header.work
        if measured_s > self._latency.seconds(1):
            self._latency = _latency(measured_s)

    async def examine(self, encoded: Sequence[bytes], caller: Caller) -> list[Photo]:
        """Read the headers, and hash the bytes. The `header` of a photo that is refused is the error."""
        if sum(map(len, encoded)) <= _AT_ONCE_BYTES:
            return [self._examined(each) for each in encoded]
        jobs = (
            self._aside.run(self._examined, each, caller=caller, work=1 + len(each) / _AT_ONCE_BYTES)
            for each in encoded
        )
        return list(await asyncio.gather(*jobs))

    async def decode(self, photo: Photo, preprocessing: Preprocessing, caller: Caller) -> Decoded:
        """Raises ServingError for a photo that is refused."""
        if isinstance(photo.header, ServingError):
            raise photo.header.fresh()
        decoded = await self._threads.run(
            _timed_decode, photo.encoded, photo.header, preprocessing, self._exact, caller=caller, work=photo.work
        )
        self._latency.saw(photo.work, decoded.seconds)
        return decoded

    def forecast(self, work: Sequence[float], caller: Caller) -> Forecast:
        """When new photos of a caller will be decoded. `work`: of each photo."""
        first_s = self._ready_in_s(work[:1], caller)
        return Forecast(first_s, first_s if len(work) == 1 else self._ready_in_s(work, caller))

    def left_s(self) -> float:
        """How long until all photos that wait, or are being decoded, are done."""
        return self._latency.seconds(self._threads.left())

    def give_up_slow(self) -> int:
        """Refuse the photos whose decoding takes too long, and replace their threads. Returns how many there were."""
        error = ServingError(Code.DECODE_LIMIT, "Decoding the image took too long: save it again as an ordinary JPEG.")
        slow = self._threads.give_up(self._limit_s, error)
        for seconds in slow:
            log.error("decoding of a photo was given up after %.0f s", seconds)
        return len(slow)

    def waiting(self) -> int:
        """How many photos wait for a decode thread."""
        return self._threads.waiting()

    @property
    def lost(self) -> int:
        """How many threads still decode a photo that was given up."""
        return self._threads.lost

    @property
    def failing(self) -> bool:
        """Whether more than half as many threads as there should be are lost: only a new process helps."""
        return 2 * self._threads.lost > self._threads.count

    def close(self) -> None:
        """End the threads as soon as they are idle."""
        self._threads.close()

    def _ready_in_s(self, work: Sequence[float], caller: Caller) -> float:
        if not any(work):
            return 0.0
        return self._latency.seconds(max(*work, self._threads.done_in(sum(work), caller)))

    def _examined(self, encoded: bytes) -> Photo:
        if len(encoded) > self._max_image_bytes:
            detail = f"The image has {len(encoded)} bytes: send at most {self._max_image_bytes}."
            return Photo(encoded, b"", ServingError(Code.TOO_LARGE, detail))
        digest = hashlib.sha256(encoded).digest()
        try:
            return Photo(encoded, digest, read_header(encoded, self._max_pixels))
        except ImageError as error:
            return Photo(encoded, digest, ServingError.of_image(error))


def _latency(ordinary_s: float) -> LatencyModel:
    """Predicts that decoding takes time in proportion to its work. `ordinary_s`: for work of 1."""
    return LatencyModel({0: 0.0, 1: ordinary_s})


def _timed_decode(encoded: bytes, header: Header, preprocessing: Preprocessing, exact: bool) -> Decoded:
    began_at_s = time.monotonic()
    try:
        picture = images.decode(encoded, header, preprocessing, exact)
    except ImageError as error:
        raise ServingError.of_image(error) from error
    return Decoded(picture, began_at_s, time.monotonic() - began_at_s)
