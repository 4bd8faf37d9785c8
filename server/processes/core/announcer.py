"""Announcer: tells all fronts what the core serves, and waits until they can answer for a new version."""

import asyncio
import logging
from typing import Protocol

from bundle.errors import BundleError
from server.processes.wire.messages import Catalogue, Offer, Version
from server.registry.entry import Entry
from server.registry.loader import Loaded
from server.registry.repository import Repository

log = logging.getLogger(__name__)

_PREPARED_IN_S = 20.0
"""A front that takes longer to read labels is left behind: it says `loading` of the version until it has them."""


class Front(Protocol):
    """A front that hears of it."""

    def tell(self, message: Offer | Catalogue) -> None: ...


class Announcer:
    """Runs on the event loop of the core. `loads` are those that fronts may name, by their number."""

    def __init__(self) -> None:
        self.complete = False
        self._repository: Repository | None = None
        self._fronts: set[Front] = set()
        self._told: Catalogue | None = None
        self._offers: dict[int, dict[Front, asyncio.Future[str]]] = {}

    def describe(self, repository: Repository) -> None:
        """Announce what is in this repository."""
        self._repository = repository

    def enter(self, front: Front) -> None:
        """A front has come: it gets the whole catalogue."""
        self._fronts.add(front)
        if self._told:
            front.tell(self._told)
        self.publish()

    def leave(self, front: Front) -> None:
        """A front has gone: nobody waits for it."""
        self._fronts.discard(front)
        for waiting in self._offers.values():
            if front in waiting and not waiting[front].done():
                waiting[front].set_result("")

    async def offer(self, entry: Entry, loaded: Loaded) -> None:
        """Returns when every front can answer for the load. Raises BundleError where one cannot."""
        waiting = {front: asyncio.get_running_loop().create_future() for front in self._fronts}
        self._offers[loaded.number] = waiting
        for front in waiting:
            front.tell(Offer(loaded.number, str(entry.path)))
        try:
            if waiting:
                _, late = await asyncio.wait(waiting.values(), timeout=_PREPARED_IN_S)
                if late:
                    log.warning("%d fronts have not read %s/%s yet", len(late), entry.name, entry.version)
        finally:
            del self._offers[loaded.number]
        faults = [future.result() for future in waiting.values() if future.done() and future.result()]
        if faults:
            raise BundleError(faults[0])

    def prepared(self, front: Front, load: int, fault: str) -> None:
        future = self._offers.get(load, {}).get(front)
        if future and not future.done():
            future.set_result(fault)

    def publish(self) -> None:
        """Tell the fronts if something has changed. To be called after each change, and now and then."""
        if self._repository is None:
            return
        catalogue = _catalogue(self._repository, self.complete)
        if catalogue != self._told:
            self._told = catalogue
            for front in self._fronts:
                front.tell(catalogue)


def _catalogue(repository: Repository, complete: bool) -> Catalogue:
    return Catalogue(complete, [_version(entry) for entry in repository.entries()], repository.aliases.all())


def _version(entry: Entry) -> Version:
    known = entry.name, entry.version, str(entry.path), entry.state.value, entry.reason
    if entry.ready is None:
        return Version(*known)
    loaded, parity = entry.ready.loaded, entry.ready.loaded.parity
    return Version(
        *known,
        load=loaded.number,
        sick=entry.ready.queue.sick,
        engine=loaded.engine.name,
        precision=loaded.engine.precision,
        why=loaded.choice.why,
        device=loaded.choice.device,
        copies=len(loaded.choice.engines),
        batch=loaded.batch,
        parity=(
            int(parity.images),
            float(parity.max_dp),
            float(parity.max_dlogp),
            float(parity.top1_agreement),
            float(parity.top5_agreement),
        ),
    )
