"""OpenInference: everything that the protocol can be asked, for both faces."""

from collections.abc import Awaitable, Callable, Sequence

from server.errors import Code, ServingError
from server.health import Health
from server.keys.access import Access
from server.keys.key import Key
from server.openinference import descriptions
from server.openinference.descriptions import Description
from server.openinference.inference import Inference
from server.openinference.regions import Region, Regions
from server.openinference.statistics import statistics
from server.operators import Operations
from server.registry.allowed import seen_by
from server.registry.catalogue import Catalogue

_CUDA = "CUDA shared memory is not supported by this server: use system shared memory, or send tensors in the message."


class OpenInference:
    """Runs on the event loop. Every method raises ServingError. `key`: whose request it is, where the server has keys;
    it sees its models only.
    """

    def __init__(
        self,
        inference: Inference,
        catalogue: Catalogue,
        health: Health,
        operations: Operations,
        access: Access,
        exposition: Callable[[], Awaitable[bytes]],
        version: str,
        max_images: int,
    ) -> None:
        """`access`: who may operate. `exposition`: the metrics as text. `version`: of this server. `max_images`: limit
        on the images a request.
        """
        self.inference = inference
        self._catalogue = catalogue
        self._health = health
        self._operations = operations
        self._access = access
        self._exposition = exposition
        self._version = version
        self._max_images = max_images

    @property
    def regions(self) -> Regions:
        return self.inference.regions

    @property
    def is_live(self) -> bool:
        return self._health.alive

    @property
    def is_ready(self) -> bool:
        return self._health.ready

    def is_model_ready(self, name: str, version: str, key: Key | None) -> bool:
        return self._health.ready_for(seen_by(self._catalogue, key).resolve(name, version))

    def server_metadata(self) -> Description:
        return descriptions.server(self._version, self.regions.are_allowed)

    def model_metadata(self, name: str, version: str, key: Key | None) -> Description:
        return descriptions.model(seen_by(self._catalogue, key), name, version)

    def model_config(self, name: str, version: str, key: Key | None) -> Description:
        return descriptions.config(seen_by(self._catalogue, key), name, version, self._max_images)

    async def statistics(self, name: str, version: str, key: Key | None) -> Description:
        """Of all model versions; only of one model, or one version of it, where that is given."""
        catalogue = seen_by(self._catalogue, key)
        if name:
            entries = catalogue.resolve(name, version)
            name, version = entries[0].name, version and entries[0].version
        text = (await self._exposition()).decode()
        found = statistics(text, name, version)
        if catalogue is not self._catalogue:
            allowed = set(catalogue.names())
            found = [model for model in found if model["name"] in allowed]
        return {"model_stats": found}

    def repository_index(self, only_ready: bool, key: Key | None) -> list[Description]:
        return descriptions.index(seen_by(self._catalogue, key), only_ready)

    async def load(self, name: str, parameters: Sequence[str], secret: str) -> None:
        """Load the newest version of a model, again if it is loaded. `parameters`: the names of those sent."""
        self._check_operator(secret)
        if parameters:
            raise ServingError(
                Code.MALFORMED, f"The parameter '{parameters[0][:64]}' is not supported: a bundle is loaded as it is."
            )
        await self._operations.load(name, "")

    async def unload(self, name: str, secret: str) -> None:
        """Unload all versions of a model. Returns when their last request is answered."""
        self._check_operator(secret)
        await self._operations.unload(name, "")

    def _check_operator(self, secret: str) -> None:
        try:
            self._access.check_operator(secret)
        except ServingError as error:
            if self._access.need_key:
                raise
            raise ServingError(Code.FORBIDDEN, error.detail) from None  # where only operators have a secret, always 403

    def region_status(self, name: str = "") -> list[Region]:
        """All registered regions, or one."""
        return [self.regions.get(name)] if name else self.regions.all()

    def cuda_region_status(self, name: str = "") -> None:
        """There are none. Clients ask for that, and unregister all, before they begin."""
        if name:
            raise ServingError(Code.MALFORMED, _CUDA)

    def register_cuda_region(self) -> None:
        raise ServingError(Code.MALFORMED, _CUDA)
