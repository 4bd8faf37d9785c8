"""Decoders: encoded photos to pixels, on threads of their own, and how long that will take."""

import hashlib
import time

from bundle import images
from bundle.errors import ImageError
from bundle.images import Picture
from bundle.manifest import Preprocessing
from server.errors import ServingError
from server.pace import Pace
from server.threads import Threads

_HASHED_AT_ONCE_BYTES = 1 << 20  # half a millisecond: less than the way to a thread and back would delay others


class Decoders:
    """As many photos are decoded at once as there are threads."""

    def __init__(self, threads: int, max_pixels: int, exact: bool) -> None:
        """`exact`: pixel for pixel as in training, instead of fast (see `bundle.images.to_picture`)."""
        self._count = threads
        self._exact = exact
        self._threads = Threads(threads, "decode")
        self._max_pixels = max_pixels
        self._pace = Pace({1: 1e-3})

    def warm_up(self, preprocessing: Preprocessing) -> None:
        """Measure how long an ordinary photo takes; slow, and for any thread."""
        photo = images.sample_jpeg()
        measured_s = min(_timed_decode(photo, preprocessing, self._max_pixels, self._exact)[1] for _ in range(3))
        if measured_s > self._pace.seconds(1):
            self._pace = Pace({1: measured_s})

    async def decode(self, encoded: bytes, preprocessing: Preprocessing) -> tuple[Picture, float]:
        """The pixels, and the seconds that they took. Raises ServingError for what is no acceptable image."""
        try:
            picture, seconds = await self._threads.run(
                _timed_decode, encoded, preprocessing, self._max_pixels, self._exact
            )
        except ImageError as error:
            raise ServingError.of_image(error) from error
        self._pace.saw(1, seconds)
        return picture, seconds

    async def digest(self, encoded: bytes) -> bytes:
        """SHA-256."""
        if len(encoded) > _HASHED_AT_ONCE_BYTES:
            return (await self._threads.run(hashlib.sha256, encoded)).digest()
        return hashlib.sha256(encoded).digest()

    def ready_in_s(self, images: int) -> float:
        """How long until so many more images are decoded."""
        return self._pace.seconds(1) * max(1.0, (self._threads.in_hand + images) / self._count)


def _timed_decode(encoded: bytes, preprocessing: Preprocessing, max_pixels: int, exact: bool) -> tuple[Picture, float]:
    started_s = time.perf_counter()
    picture = images.to_picture(encoded, preprocessing, max_pixels, exact)
    return picture, time.perf_counter() - started_s
