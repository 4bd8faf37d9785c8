"""Compose: builds the parts of the server from its settings and connects them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from server import triton_metrics
from server.backend import Backend
from server.comparing.comparisons import Comparisons
from server.comparing.live import Live
from server.comparing.shadows import Shadows
from server.decoding.decoders import Decoders
from server.explaining.explainer import Explainer
from server.explaining.worker_process import WorkerProcess
from server.health import Health
from server.host import cores
from server.journal import Journal, Spans
from server.keys.access import Access
from server.keys.keyring import Keyring
from server.lifecycle import Lifecycle
from server.metrics import Metrics
from server.network.certificates import Certificates
from server.openinference.inference import Inference
from server.openinference.open_inference import OpenInference
from server.openinference.regions import Regions
from server.operators import Operations
from server.receiving import ReceiveBudget
from server.registry.catalogue import Catalogue
from server.rest import AdminFace, RestFace
from server.rest.connections import Connections
from server.rpc import RpcFace
from server.scheduling.threads import Threads
from server.service import Classifier, Limits
from server.settings import Settings
from server.shadow.shadow_process import ShadowProcess
from server.startup.compose_keys import compose_keys
from server.startup.compose_loader import compose_decoders
from server.startup.compose_models import Choose, compose_models
from server.startup.compose_network import compose_certificates, compose_reach
from server.startup.compose_spans import compose_spans
from server.watch import DecodeWatch, Watch
from trt.gpus import Gpu

_LAST_SPANS_S = 1.0


@dataclass(frozen=True)
class Parts:
    """The connected parts that `App` runs. They live on the event loop.

    `aside`: one thread for large parsing, hashing and answers, which would block the event loop.
    """

    settings: Settings
    metrics: Metrics
    lifecycle: Lifecycle
    aside: Threads
    decoders: Decoders
    backend: Backend
    health: Health
    watches: Sequence[Watch]
    connections: Connections
    rest: RestFace
    rpc: RpcFace
    explainer: Explainer | None
    comparisons: Comparisons
    certificates: Certificates | None = None
    spans: Spans | None = None

    async def close(self) -> None:
        """The work is done: end the processes and threads of the parts, and send the last spans."""
        if self.explainer:
            await self.explainer.close()
        await self.comparisons.live.shadows.close()
        for part in (self.backend, self.decoders, self.aside):
            part.close()
        if self.spans:
            self.spans.close(_LAST_SPANS_S)


def compose(settings: Settings, choose: Choose | None = None, gpus: Sequence[Gpu] | None = None) -> Parts:
    """The parts of a server in one process. See `compose_models`. Raises as that does, and KeysError and TlsError."""
    ground = _Ground(settings, admits=True)
    models = compose_models(settings, ground.shares, ground.decoders, ground.metrics, choose, gpus, spans=ground.spans)
    registry = models.registry

    async def exposition() -> bytes:
        return triton_metrics.text(ground.metrics.registry)

    return _with_faces(ground, registry.repository, registry, registry.deployer, [models.watch], exposition)


def compose_front(settings: Settings, control: str, name: str = "front") -> Parts:
    """The parts of a front of that name, whose models are in the core at the control socket `control`. Raises KeysError
    and TlsError.
    """
    from server.processes.front.mirror import Mirror  # only Linux has what these need
    from server.processes.front.remote_backend import RemoteBackend
    from server.processes.front.remote_deployer import RemoteDeployer

    ground = _Ground(settings, admits=False, process=name)
    mirror = Mirror(
        settings.default_model, ground.decoders, Threads(1, "load"), ground.metrics, settings.remember_images
    )
    backend = RemoteBackend(control, mirror, ground.metrics)
    deployer = RemoteDeployer(backend, mirror)
    return _with_faces(ground, mirror, backend, deployer, [], backend.exposition, shared_port=True)


class _Ground:
    """What faces and models share. `admits`: whether this process admits images. `process`: the name of this one of
    several.
    """

    def __init__(self, settings: Settings, admits: bool, process: str = "") -> None:
        self.settings = settings
        self.shares = cores.shares(settings.decode_threads, settings.engine_threads)
        self.metrics = Metrics(CollectorRegistry())
        self.spans = compose_spans(settings, process, self.metrics)
        self.lifecycle = Lifecycle()
        self.aside = Threads(1, "aside")
        self.keys = compose_keys(settings, self.metrics, admits)
        self.decoders = compose_decoders(settings, self.shares, self.aside)


def _with_faces(
    ground: _Ground,
    catalogue: Catalogue,
    backend: Backend,
    operations: Operations,
    watches: Sequence[Watch],
    exposition: Callable[[], Awaitable[bytes]],
    shared_port: bool = False,
) -> Parts:
    settings, metrics, lifecycle = ground.settings, ground.metrics, ground.lifecycle
    aside, decoders = ground.aside, ground.decoders
    live = Live(catalogue, Shadows(catalogue, ShadowProcess(settings.engine_limit_s), settings.shadow_percent / 100))
    metrics.registry.register(live)
    comparisons = Comparisons(live, catalogue, exposition, aside)
    access = ground.keys.access
    need_key = access if settings.keys else None
    classifier = Classifier(
        catalogue, decoders, lifecycle, _limits(settings), need_key, ground.keys.callers, live.watch
    )
    budget = ReceiveBudget(settings.receive_bytes)
    _show(metrics, budget, decoders)

    async def set_ready(ready: bool) -> None:
        await rpc.set_ready(ready)

    health = Health(lifecycle, catalogue, set_ready, settings.strict_readiness)
    certificates, reach = compose_certificates(settings), compose_reach(settings)
    operators_here = Access(Keyring(()), need_key=False) if reach.admin_apart else access  # apart: not by this port
    inference = Inference(classifier, Regions(settings.shared_memory), aside)
    open_inference = OpenInference(
        inference, catalogue, health, operations, operators_here, exposition, version("sesame"), settings.max_images
    )
    explainer = _explainer(settings, classifier)
    journal = Journal(ground.spans, settings.trace_share)
    rpc = RpcFace(
        classifier, catalogue, metrics, budget, aside, settings.max_connections, open_inference, explainer, journal,
        shared_port, certificates, reach.proxies, need_key,
    )  # fmt: skip
    admin = AdminFace(operations, catalogue, access) if access.has_operators else None
    rest = RestFace(
        classifier, catalogue, health, metrics, budget, aside, version("sesame"), admin, exposition, open_inference,
        explainer, reach, journal, comparisons, need_key, settings.metrics_need_key,
    )  # fmt: skip
    connections = Connections(settings.max_connections, metrics.face("rest").ended)
    metrics.http_connections.set_function(lambda: connections.open)
    all_watches = [*watches, DecodeWatch(decoders, metrics.decodes_given_up.inc)]
    if ground.keys.watch:
        all_watches.append(ground.keys.watch)
    return Parts(
        settings, metrics, lifecycle, aside, decoders, backend, health, all_watches, connections, rest, rpc, explainer,
        comparisons, certificates, ground.spans,
    )  # fmt: skip


def _explainer(settings: Settings, classifier: Classifier) -> Explainer | None:
    if not settings.explain:
        return None
    worker = WorkerProcess(settings.engine_limit_s)
    return Explainer(classifier, worker, settings.max_pixels, settings.exact_pixels)


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_image_bytes,
        settings.max_request_bytes,
        settings.max_images,
        settings.default_timeout_ms / 1e3,
        settings.max_timeout_ms / 1e3,
    )


def _show(metrics: Metrics, budget: ReceiveBudget, decoders: Decoders) -> None:
    """Gauges ask for their value when metrics are read."""
    metrics.receiving_bytes.set_function(lambda: budget.taken)
    metrics.decode_queue_images.set_function(decoders.waiting)
    metrics.decode_threads_lost.set_function(lambda: decoders.lost)
