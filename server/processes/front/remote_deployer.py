"""RemoteDeployer: has the core load and unload models, for the operators that ask a front."""

from pathlib import Path

from server.processes.front.mirror import Mirror
from server.processes.front.remote_backend import RemoteBackend
from server.registry.entry import Entry, State
from server.registry.target import Target


class RemoteDeployer:
    """Each method does what the core's `Deployer` does, and raises what it raises."""

    def __init__(self, backend: RemoteBackend, mirror: Mirror) -> None:
        self._backend = backend
        self._mirror = mirror

    async def load(self, name: str, version: str) -> Entry:
        """Load a version, or the newest. Returns when it serves."""
        ((found, number),) = (await self._backend.session().ask("load", name, version)).versions
        return self._mirror.matching(found, number)[0]

    async def unload(self, name: str, version: str) -> list[Entry]:
        """Unload a version, or all. Returns when their last requests are answered."""
        versions = (await self._backend.session().ask("unload", name, version)).versions
        listed = {(entry.name, entry.version): entry for entry in self._mirror.entries()}
        return [listed.get(each) or _forgotten(*each) for each in versions]

    async def set_alias(self, alias: str, target: Target | None) -> bool:
        """See `Deployer.set_alias`."""
        return (await self._backend.session().ask("set_alias", alias, target=target)).kept


def _forgotten(name: str, version: str) -> Entry:
    """A version that is not listed any more, because its files were gone when it was unloaded."""
    return Entry(name, version, Path(), (), state=State.UNLOADED)
