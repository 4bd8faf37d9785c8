"""Account: how many images one key may still send, by its rate and by its quota of the day."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

from server.errors import Code, ServingError
from server.keys.key import Key

_DAY_S = 86_400
_MOST_WAITING = 64
"""Images of a key that may wait for their turn: those of one stream. Each holds its photo, and with several fronts a
slot."""


class Account:
    """A token bucket of `burst` images that gets `rate` a second, and a count of the day. A request takes all of its
    images or none.

    Runs on the event loop of the process that admits images.
    """

    def __init__(
        self, key: Key, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        """`clock`: seconds, of deadlines too. `wall`: seconds since 1970."""
        self._key = key
        self._clock = clock
        self._wall = wall
        self._tokens = float(key.burst)  # below 0: that many were taken in advance
        self._at_s = clock()
        self._day = self._today()
        self._used = 0
        self._waiting = 0
        self._closed = asyncio.Event()

    def change(self, key: Key) -> None:
        """The key has other limits now. What was used stays used."""
        self._refill()
        if not self._key.rate:
            self._tokens = float(key.burst)
        self._key = key
        self._tokens = min(self._tokens, float(key.burst))

    def close(self) -> None:
        """The key is not valid any more: whoever waits is refused."""
        self._closed.set()

    def check(self, images: int) -> None:
        """Raises ServingError: RATE_LIMITED where so many may not be taken now, MALFORMED where they never may,
        UNAUTHORIZED where the key has been removed.
        """
        self._refuse_hopeless(images)
        if wait_s := self._wait_s(images):
            raise _too_fast(self._key, wait_s)

    def spend(self, images: int) -> None:
        """Take so many, which `check` has allowed."""
        self._tokens -= images
        self._used += images

    def refund(self, images: int) -> None:
        """Give back what was taken for images that were not admitted."""
        self._tokens += images
        self._used = max(0, self._used - images)

    async def spend_patiently(self, images: int, deadline_s: float) -> None:
        """Take so many, in advance if need be, and return when their time has come. Raises as `check` does, and
        RATE_LIMITED where that would be after the deadline.
        """
        self._refuse_hopeless(images)
        wait_s = self._wait_s(images)
        if wait_s and (self._waiting + images > _MOST_WAITING or self._clock() + wait_s > deadline_s):
            raise _too_fast(self._key, wait_s)
        self.spend(images)
        if wait_s:
            try:
                await self._wait(images, wait_s)
            except BaseException:
                self.refund(images)
                raise

    def quota_left(self) -> float:
        """Images left of this day's quota; infinite where there is none."""
        self._new_day()
        return self._key.quota_per_day - self._used if self._key.quota_per_day else math.inf

    async def _wait(self, images: int, wait_s: float) -> None:
        self._waiting += images
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._closed.wait()
        finally:
            self._waiting -= images
        self._refuse_closed()

    def _wait_s(self, images: int) -> float:
        """How long until there are so many tokens."""
        if not self._key.rate:
            return 0.0
        self._refill()
        return max(0.0, (images - self._tokens) / self._key.rate)

    def _refill(self) -> None:
        now_s = self._clock()
        self._tokens = min(float(self._key.burst), self._tokens + (now_s - self._at_s) * self._key.rate)
        self._at_s = now_s

    def _refuse_hopeless(self, images: int) -> None:
        """Refuse what waiting a while does not help."""
        self._refuse_closed()
        key = self._key
        for name, most in (("burst", key.burst if key.rate else 0), ("quota_per_day", key.quota_per_day)):
            if most and images > most:
                raise ServingError(
                    Code.MALFORMED,
                    f"{images} images in one request, and the {name} of this key is {most}: send fewer at a time.",
                )
        if self.quota_left() < images:
            raise ServingError(
                Code.RATE_LIMITED,
                f"This key has {max(0, int(self.quota_left()))} of {key.quota_per_day} images left today: go on after "
                "midnight UTC, or ask the operator for more.",
                retry_after_s=(self._day + 1) * _DAY_S - self._wall(),
            )

    def _refuse_closed(self) -> None:
        if self._closed.is_set():
            raise removed()

    def _new_day(self) -> None:
        if self._today() != self._day:
            self._day, self._used = self._today(), 0

    def _today(self) -> int:
        return int(self._wall() // _DAY_S)


def removed() -> ServingError:
    return ServingError(Code.UNAUTHORIZED, "This key is not valid any more: ask the operator for another one.")


def _too_fast(key: Key, wait_s: float) -> ServingError:
    return ServingError(
        Code.RATE_LIMITED,
        f"This key may send {key.rate:g} images a second, {key.burst} at once: send more after {wait_s:.2f} s.",
        retry_after_s=wait_s,
    )
