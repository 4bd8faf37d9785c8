"""OpenInference: everything that the protocol can be asked, for both faces."""

from collections.abc import Awaitable, Callable, Sequence

from server.errors import Code, ServingError
from server.health import Health
from server.openinference import descriptions
from server.openinference.descriptions import Description
from server.openinference.inference import Inference
from server.openinference.regions import Region, Regions
from server.openinference.statistics import statistics
from server.operators import AdminToken, Operations
from server.registry.catalogue import Catalogue

_CUDA = "CUDA shared memory is not supported by this server: use system shared memory, or send tensors in the message."


class OpenInference:
    """Runs on the event loop. Every method raises ServingError."""

    def __init__(
        self,
        inference: Inference,
        catalogue: Catalogue,
        health: Health,
        operations: Operations,
        token: AdminToken,
        exposition: Callable[[], Awaitable[bytes]],
        version: str,
        max_images: int,
    ) -> None:
        """`exposition`: the metrics as text. `version`: of this server. `max_images`: limit on the images a request."""
        self.inference = inference
        self._catalogue = catalogue
        self._health = health
        self._operations = operations
        self._token = token
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

    def is_model_ready(self, name: str, version: str) -> bool:
        return self._health.ready_for(self._catalogue.resolve(name, version))

    def server_metadata(self) -> Description:
        return descriptions.server(self._version, self.regions.are_allowed)

    def model_metadata(self, name: str, version: str) -> Description:
        return descriptions.model(self._catalogue, name, version)

    def model_config(self, name: str, version: str) -> Description:
        return descriptions.config(self._catalogue, name, version, self._max_images)

    async def statistics(self, name: str = "", version: str = "") -> Description:
        """Of all model versions; only of one model, or one version of it, where that is given."""
        if name:
            entries = self._catalogue.resolve(name, version)
            name, version = entries[0].name, version and entries[0].version
        text = (await self._exposition()).decode()
        return {"model_stats": statistics(text, name, version)}

    def repository_index(self, only_ready: bool) -> list[Description]:
        return descriptions.index(self._catalogue, only_ready)

    async def load(self, name: str, parameters: Sequence[str], authorization: str) -> None:
        """Load the newest version of a model, again if it is loaded. `parameters`: the names of those sent."""
        self._check_operator(authorization)
        if parameters:
            raise ServingError(
                Code.MALFORMED, f"The parameter '{parameters[0][:64]}' is not supported: a bundle is loaded as it is."
            )
        await self._operations.load(name, "")

    async def unload(self, name: str, authorization: str) -> None:
        """Unload all versions of a model. Returns when their last request is answered."""
        self._check_operator(authorization)
        await self._operations.unload(name, "")

    def region_status(self, name: str = "") -> list[Region]:
        """All registered regions, or one."""
        return [self.regions.get(name)] if name else self.regions.all()

    def cuda_region_status(self, name: str = "") -> None:
        """There are none. Clients ask for that, and unregister all, before they begin."""
        if name:
            raise ServingError(Code.MALFORMED, _CUDA)

    def register_cuda_region(self) -> None:
        raise ServingError(Code.MALFORMED, _CUDA)

    def _check_operator(self, authorization: str) -> None:
        if not self._token.authorizes(authorization):
            raise ServingError(
                Code.FORBIDDEN,
                "Only operators may do this: start the server with an admin token, and send it as 'Authorization: "
                "Bearer …'.",
            )
