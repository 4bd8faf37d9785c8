"""Registry: the parts that know, load and unload models, and their life as a whole."""

import asyncio
import logging
from dataclasses import dataclass

from server.registry.activator import Activator
from server.registry.deployer import Deployer
from server.registry.plan_builds import PlanBuilds
from server.registry.repository import Repository

log = logging.getLogger(__name__)

_BUILD_ENDS_IN_S = 4.0


@dataclass(frozen=True)
class Registry:
    """Runs on the event loop. `watch_s`: time between checks of the model repository; 0 never checks."""

    repository: Repository
    activator: Activator
    deployer: Deployer
    plan_builds: PlanBuilds
    watch_s: int
    keep_going: bool

    async def prepare(self) -> None:
        """Requests are accepted at once: while bundles load, the faces say so."""

    async def load(self) -> bool:
        """Load all bundles. Returns False where the server shall not start with what could be loaded."""
        await self.deployer.refresh()
        if self.repository.remote and (lack := self.repository.lack()) and not self.keep_going:
            log.error("stopping: %s", lack)
            return False
        failed = self.repository.unserved() or ([] if self.repository.names() else ["any model"])
        if failed and not self.keep_going:
            log.error(
                "stopping: no version of %s could be loaded; repair or remove it, or serve the others with "
                "--keep-going",
                ", ".join(failed),
            )
            return False
        return True

    async def keep(self) -> None:
        """Serve what the model repository holds, and build missing plans, until cancelled."""
        watching = asyncio.create_task(self._watch_repository())
        building = asyncio.create_task(self.plan_builds.run())
        try:
            await asyncio.gather(watching, building)
        finally:
            watching.cancel()
            building.cancel()
            await asyncio.wait((building,), timeout=_BUILD_ENDS_IN_S)

    def close(self) -> None:
        """Nothing has to be ended."""

    async def idle(self) -> None:
        """Returns when all that was admitted is answered."""
        await self.activator.idle()

    def unanswered(self) -> int:
        """Images admitted and not yet answered."""
        return self.activator.unanswered()

    async def _watch_repository(self) -> None:
        """Every `watch_s`, serve what the model repository holds then."""
        while self.watch_s:
            await asyncio.sleep(self.watch_s)
            try:
                await self.deployer.refresh()
            except Exception:  # else nobody would look again, or hear of it
                log.exception("the model repository could not be looked at; the next time is in %d s", self.watch_s)
