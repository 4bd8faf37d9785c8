"""Shadows: copies of answered pictures for the shadow's process, when there is room for one. On the event loop."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from bundle.images import Picture
from server.comparing.agreement import Agreement, Pair, order
from server.errors import ServingError
from server.registry.catalogue import Catalogue
from server.registry.loader import ReadyModel
from server.scheduling.batch import Row
from server.shadow import wire
from server.shadow.shadow_process import ShadowFailed, ShadowProcess
from server.shadow.wire import Compute, Computed, Open, Opened, described

log = logging.getLogger(__name__)

_TURN_S = 60.0  # of one shadow, where several aliases have one: to open another version takes seconds
_IDLE_S = 300.0  # without a copy the process ends
_LONGEST_PAUSE_S = 300.0  # after failures in a row


class Shadows:
    """One picture at a time, the others are passed over: nothing waits, and nothing is held but that one picture.

    After each picture the process rests, so that it computes for `share` of the time (0 to 1) on average. The rests are
    exponentially distributed: which photo comes next does not depend on when photos come. A shadow that fails rests for
    longer and longer.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        process: ShadowProcess,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[], float] = lambda: random.expovariate(1),
    ) -> None:
        """`rest`: a length of 1 on average."""
        self.process = process
        self._catalogue = catalogue
        self._share = share
        self._clock = clock
        self._rest = rest
        self._copying: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._not_before_s = 0.0
        self._failures = 0
        self._open: Open | None = None
        self._opened: Opened | None = None
        self._opened_at_s = 0.0
        self._orders: WeakKeyDictionary[ReadyModel, NDArray[np.intp]] = WeakKeyDictionary()
        self._faults: dict[Pair, str] = {}

    def fault(self, pair: Pair) -> str:
        """Why its last picture could not be compared; "" where it was, or none was tried."""
        return self._faults.get(pair, "")

    def offer(self, pair: Pair, ready: ReadyModel, picture: Picture, row: Row, agreement: Agreement) -> None:
        """A picture has been answered. It is copied if there is room, and counted in any case."""
        now_s = self._clock()
        busy = self._copying is not None and not self._copying.done()
        if not self._share or busy or now_s < self._not_before_s or not self._may_open(pair, ready, now_s):
            agreement.passed_over += 1
            return
        self._copying = asyncio.create_task(self._copy(pair, ready, picture, row, agreement))

    async def close(self) -> None:
        """End the process, and whatever it computes."""
        if self._idle:
            self._idle.cancel()
        if self._copying:
            self._copying.cancel()
            await asyncio.wait((self._copying,))
        await self.process.close()

    async def _copy(self, pair: Pair, ready: ReadyModel, picture: Picture, row: Row, agreement: Agreement) -> None:
        try:
            opened = await self._open_for(pair, ready)
            classes = self._order(ready, opened)
            began_s = self._clock()
            height, width, _ = picture.shape
            computed = await self.process.run(Compute(height, width, picture.tobytes()))
            took_s = self._clock() - began_s
            if not isinstance(computed, Computed):
                raise ShadowFailed("it answered something else")
            agreement.add(row.probabilities, wire.row(computed)[classes], row.infer_s, computed.infer_s)
        except ShadowFailed as error:
            agreement.failed += 1
            self._failed(pair, str(error))
        except Exception:
            agreement.failed += 1
            log.exception("a copy for the shadow failed: this is a bug")
            self._failed(pair, "the server made a mistake: see the log")
        else:
            self._failures = 0
            self._faults.pop(pair, None)
            self._not_before_s = self._clock() + took_s * (1 / self._share - 1) * self._rest()
        self._end_when_idle()

    def _wanted(self, pair: Pair, ready: ReadyModel) -> Open:
        """Raises ShadowFailed where the version is not there."""
        with contextlib.suppress(ServingError):
            (entry,) = self._catalogue.matching(pair.model, pair.shadow)
            if not entry.gone:
                engine = ready.loaded.engine
                return Open(str(entry.path.resolve()), engine.name, engine.precision)
        raise ShadowFailed(f"there is no version {pair.shadow}")

    def _may_open(self, pair: Pair, ready: ReadyModel, now_s: float) -> bool:
        """Whether it is open, or another one has been for long enough."""
        if self._open is None or not self.process.running or now_s - self._opened_at_s >= _TURN_S:
            return True
        try:
            return self._wanted(pair, ready) == self._open
        except ShadowFailed:
            return True  # `_copy` reports it

    async def _open_for(self, pair: Pair, ready: ReadyModel) -> Opened:
        """What the shadow is, which is open now. Raises ShadowFailed, also where it cannot be compared."""
        wanted = self._wanted(pair, ready)
        if self._opened is None or self._open != wanted or not self.process.running:
            self._open = self._opened = None
            self._orders.clear()
            opened = await self.process.run(wanted)
            if not isinstance(opened, Opened):
                raise ShadowFailed("it answered something else")
            self._open, self._opened, self._opened_at_s = wanted, opened, self._clock()
            log.info("shadow open model=%s version=%s engine=%s", pair.model, pair.shadow, opened.engine)
        return self._opened

    def _order(self, ready: ReadyModel, opened: Opened) -> NDArray[np.intp]:
        """Where the classes of the version that answered are among the shadow's. Raises ShadowFailed."""
        known = self._orders.get(ready)
        if known is not None:
            return known
        bundle = ready.loaded.bundle
        if (own := described(bundle.manifest.preprocessing)) != opened.preprocessing:
            raise ShadowFailed(f"it takes photos as {opened.preprocessing}, and not as {own}: they cannot be shared")
        found = order(_ids(ready), opened.labels)
        if found is None:
            raise ShadowFailed("it has other classes, so that answers cannot be compared")
        self._orders[ready] = found
        return found

    def _failed(self, pair: Pair, why: str) -> None:
        if self._faults.get(pair) != why:
            log.warning("the shadow %s/%s of the alias %s failed: %s", pair.model, pair.shadow, pair.alias, why)
        self._faults[pair] = why
        self._failures += 1
        self._not_before_s = self._clock() + min(_LONGEST_PAUSE_S, 2.0 ** min(self._failures, 10))

    def _end_when_idle(self) -> None:
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._end)

    def _end(self) -> None:
        if self._copying is None or self._copying.done():
            self._copying = asyncio.create_task(self.process.close())


def _ids(ready: ReadyModel) -> Sequence[str]:
    return [label.id for label in ready.loaded.bundle.labels]
