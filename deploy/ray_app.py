"""Ray app: what `python -m server` serves, as a deployment of Ray Serve: `serve run deploy/ray.yaml`."""

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import ray
from google.protobuf.message import DecodeError
from ray import serve
from ray.serve import Application
from ray.serve.grpc_util import RayServegRPCContext
from starlette.types import ASGIApp

from deploy import ray_settings
from deploy.ray_rest import RayRest
from deploy.ray_rpc import SERVICE, answer, answers
from server.errors import ServingError
from server.host import process
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.registry.registry import Registry
from server.settings import Settings
from server.startup.compose import compose
from server.startup.embedded import Embedded

DEPLOYMENT = "Sesame"


class Unhealthy(Exception):
    """Ray has to replace this replica."""


class Replica:
    """One server without ports. Ray calls all of it on the replica's event loop for user code."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]  # Ray awaits it
        """Raises BundleError. Ray then tries again, and `serve status` shows the message."""
        _log_to_stderr(settings.log_level)
        process.give_memory_back()
        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
        self._embedded = Embedded(compose(ray_settings.with_threads(settings, cpus)))
        self._handlers = self._embedded.parts.rpc.handlers(SERVICE.full_name)
        await self._start()

    async def _start(self) -> None:
        await self._embedded.start()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return RayRest(self._embedded.parts.rest.app)

    async def check_health(self) -> None:
        """Raises Unhealthy: after three times in a row Ray replaces the replica."""
        if self._embedded.complaint:
            raise Unhealthy(self._embedded.complaint)

    async def reconfigure(self, _: Mapping[str, Any]) -> None:
        """`user_config` has changed: look at the model repository again."""
        await self._registry().deployer.refresh()

    async def __del__(self) -> None:
        """Ray ends this replica, and has waited for its requests."""
        await self._embedded.stop()

    async def Classify(self, request: bytes, grpc_context: RayServegRPCContext) -> Any:
        request = await self._provide_for(request, grpc_context)
        return await answer(self._handlers["Classify"], request, grpc_context, pb.ClassifyResponse)

    async def ClassifyStream(
        self, requests: AsyncIterator[bytes], grpc_context: RayServegRPCContext
    ) -> AsyncIterator[Any]:
        provided = (await self._provide_for(request, grpc_context) async for request in requests)
        async for response in answers(self._handlers["ClassifyStream"], provided, grpc_context):
            yield response

    async def Explain(self, request: bytes, grpc_context: RayServegRPCContext) -> Any:
        request = await self._provide_for(request, grpc_context, explain=True)
        return await answer(self._handlers["Explain"], request, grpc_context, pb.ExplainResponse)

    async def ListModels(self, request: bytes, grpc_context: RayServegRPCContext) -> Any:
        return await answer(self._handlers["ListModels"], request, grpc_context, pb.ListModelsResponse)

    async def _provide_for(self, request: bytes, context: RayServegRPCContext, explain: bool = False) -> bytes:
        """A request, whose model has been loaded if it can be. Here all models are there already."""
        return request

    def _registry(self) -> Registry:
        backend = self._embedded.parts.backend
        assert isinstance(backend, Registry), "a replica is one process. This is a bug."
        return backend


class Loaded:
    """A model that a multiplexed replica has loaded. Ray awaits `__del__` when it is the least recently used one.

    It is an attribute of the object: Python itself would call a method of this name, and not await it.
    """

    def __init__(self, registry: Registry, name: str) -> None:
        async def unload() -> None:
            try:
                await registry.deployer.unload(name, "")  # returns after its last answer
            except ServingError as error:
                logging.getLogger(__name__).warning("the model '%s' stays: %s", name, error)

        setattr(self, "__del__", unload)  # noqa: B010


def multiplexed(most: int) -> type[Replica]:
    """A replica that loads models when requests name them, at most so many at a time.

    Ray sends this class to the replicas by value. So no default and no annotation of a method may be a message's class,
    which cannot be pickled.
    """

    class Multiplexed(Replica):
        async def _start(self) -> None:
            for entry in self._registry().repository.entries():
                entry.skip()
            await self._embedded.start(load=False)

        def __serve_build_asgi_app__(self) -> ASGIApp:
            return RayRest(self._embedded.parts.rest.app, self._provide)

        async def reconfigure(self, _: Mapping[str, Any]) -> None:
            """Each load looks at the model repository."""

        @serve.multiplexed(max_num_models_per_replica=most)
        async def load(self, name: str) -> Loaded:
            await self._registry().deployer.load(name, "")
            return Loaded(self._registry(), name)

        async def _provide(self, name: str) -> None:
            if name in self._registry().repository.names():  # else Ray would unload another for it
                with contextlib.suppress(ServingError):  # the face says why the model is not there
                    await self.load(name)

        async def _provide_for(self, request: bytes, context: RayServegRPCContext, explain: bool = False) -> bytes:
            message: pb.ClassifyRequest | pb.ExplainRequest
            try:
                message = (pb.ExplainRequest if explain else pb.ClassifyRequest).FromString(request)
            except DecodeError:  # the face says so
                return request
            photo = message.photo if isinstance(message, pb.ExplainRequest) else message
            photo.model = photo.model or context.multiplexed_model_id() or ""
            await self._provide(photo.model)
            return message.SerializeToString()

    return Multiplexed


def app(args: dict[str, Any]) -> Application:
    """`args`: of ray.yaml. Raises SettingsError."""
    read = ray_settings.read(args)
    replica = multiplexed(read.multiplexed_models) if read.multiplexed_models else Replica
    return serve.deployment(name=DEPLOYMENT)(serve.ingress()(replica)).bind(read.settings)


def _log_to_stderr(level: str) -> None:
    """Ray keeps the lines of a replica's stderr in its folder of logs."""
    server = logging.getLogger("server")
    if not server.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s %(name)s %(message)s"))
        server.addHandler(handler)
    server.setLevel(level.upper())
