"""RpcFace: the gRPC server. Translates calls into calls of the service; decides nothing."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.explaining.explainer import Explainer
from server.journal import Journal
from server.keys.access import Access
from server.metrics import Metrics
from server.network.certificates import Certificates
from server.network.proxies import Proxies
from server.openinference.open_inference import OpenInference
from server.receiving import ReceiveBudget
from server.registry.catalogue import Catalogue
from server.rpc import lost_clients
from server.rpc.callers import Callers
from server.rpc.calls import Calls, Handler, Service
from server.rpc.classify import ClassifyService
from server.rpc.credentials import server_credentials
from server.rpc.openinference import OpenInferenceService
from server.rpc.outcomes import Outcomes
from server.rpc.peers import Peers
from server.rpc.receiver import MessageReceiver
from server.rpc.server_options import server_options
from server.scheduling.threads import Threads
from server.service import Classifier

_FIELDS_BYTES = 64 << 10
"""Most bytes of a request besides its image."""


class RpcFace:
    """One gRPC server over the service, with the standard health service and reflection. Runs on the event loop."""

    def __init__(
        self,
        classifier: Classifier,
        catalogue: Catalogue,
        metrics: Metrics,
        budget: ReceiveBudget,
        aside: Threads,
        max_connections: int,
        open_inference: OpenInference,
        explainer: Explainer | None,
        journal: Journal,
        shared_port: bool = False,
        certificates: Certificates | None = None,
        proxies: Proxies | None = None,
        access: Access | None = None,
    ) -> None:
        """`aside` parses large messages. `shared_port`: other processes may listen on the port too. Without
        `explainer` there is no method Explain, without `certificates` no TLS. `proxies`: whose metadata is believed.
        `access`: who may call; None: everybody.
        """
        self._certificates = certificates
        max_bytes = classifier.limits.max_image_bytes + _FIELDS_BYTES
        self._receiver = MessageReceiver(classifier, budget, aside, max_bytes)
        peers = Peers(proxies)
        outcomes = Outcomes(metrics.face("grpc"))
        calls = Calls(classifier, budget, self._receiver, outcomes, Callers(peers), peers, journal, access)
        self._services: Sequence[Service] = [
            ClassifyService(calls, catalogue, explainer),
            OpenInferenceService(calls, open_inference),
        ]
        lost_clients.do_not_log()
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=server_options(max_bytes, max_connections, shared_port))
        for service in self._services:
            handlers = grpc.method_handlers_generic_handler(service.NAME, self.handlers(service.NAME))
            self._server.add_generic_rpc_handlers((handlers,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (service.NAME for service in self._services)
        reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def handlers(self, service: str) -> dict[str, Handler]:
        """The methods of one of its services by their names, for calls that come in another way than over its port."""
        methods = next(each for each in self._services if service == each.NAME).methods()
        return {name: named(f"{service}/{name}") for name, named in methods.items()}

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError if it is taken."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._certificates:
                bound = self._server.add_secure_port(address, server_credentials(self._certificates))
            else:
                bound = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {address}") from error
        await self.set_ready(False)
        await self._server.start()
        return bound

    async def set_ready(self, ready: bool) -> None:
        """What the health service says of the server and of its services."""
        state = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *(service.NAME for service in self._services)):
            await self._health.set(name, state)

    async def stop(self, grace_s: float) -> None:
        """Accept no more calls, and no more requests of streams. Those accepted have `grace_s` to end."""
        for service in self._services:
            service.leave()
        self._receiver.end_receiving()
        await self._server.stop(grace_s)
