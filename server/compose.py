"""Compose: builds the parts of the server from its settings and connects them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry

from bundle.files import Bundle
from server import cores
from server.cores import Shares
from server.decoding.decoders import Decoders
from server.decoding.threads import Threads
from server.engines import table
from server.engines.choice import Choice, Chooser
from server.engines.machine import Machine
from server.engines.measurements import MeasurementCache
from server.engines.table import Kind
from server.engines.timings import Timings
from server.health import Health
from server.lifecycle import Lifecycle
from server.metrics import Metrics
from server.receiving import ReceiveBudget
from server.registry.activator import Activator
from server.registry.deployer import Deployer
from server.registry.loader import Loader, QueueLimits
from server.registry.plan_builds import PlanBuilds, commands
from server.registry.repository import Repository
from server.rest import AdminFace, RestFace
from server.rest.connections import Connections
from server.rpc import RpcFace
from server.scheduling.device import Device
from server.service import Classifier, Limits
from server.settings import Settings
from trt.gpus import Gpu, NoGpu, gpus
from trt.store import Store, resolved

log = logging.getLogger(__name__)

Choose = Callable[[Bundle], Choice]


@dataclass(frozen=True)
class Registry:
    """The parts that know, load and unload models."""

    repository: Repository
    activator: Activator
    deployer: Deployer
    plan_builds: PlanBuilds


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
    registry: Registry
    health: Health
    connections: Connections
    rest: RestFace
    rpc: RpcFace


def compose(settings: Settings, choose: Choose | None = None, gpus: Sequence[Gpu] | None = None) -> Parts:
    """Call it on the event loop. Raises BundleError where there is nothing to serve.

    `choose` decides on the engine of a bundle instead of the settings; `gpus` are used instead of those CUDA shows.
    """
    gpus = usable_gpus(settings.engine) if gpus is None else gpus
    shares = cores.shares(settings.decode_threads, settings.engine_threads)
    metrics, lifecycle, aside = Metrics(CollectorRegistry()), Lifecycle(), Threads(1, "aside")
    decoders = _decoders(settings, shares, aside)
    devices = _devices(gpus)
    registry = _registry(settings, choose, gpus, shares, devices, decoders, metrics)
    classifier = Classifier(registry.repository, decoders, lifecycle, _limits(settings))
    budget = ReceiveBudget(settings.receive_bytes)
    _show(metrics, budget, decoders)
    rpc = RpcFace(classifier, registry.repository, metrics, budget, aside, settings.max_connections)
    health = Health(
        lifecycle,
        registry.repository,
        list(devices.values()),
        decoders,
        settings.engine_limit_s,
        rpc.set_ready,
        metrics.decodes_given_up.inc,
        settings.strict_readiness,
    )
    admin = AdminFace(registry.deployer, registry.repository, settings.admin_token) if settings.admin_token else None
    rest = RestFace(classifier, registry.repository, health, metrics, budget, aside, version("sesame"), admin)
    connections = Connections(settings.max_connections, metrics.face("rest").ended)
    return Parts(settings, metrics, lifecycle, aside, decoders, registry, health, connections, rest, rpc)


def usable_gpus(engine: str) -> Sequence[Gpu]:
    """The GPUs that this process may use; none where the operator chose a CPU engine: CUDA is then not touched."""
    if not table.wants_gpus(engine):
        return []
    try:
        return gpus()
    except NoGpu as reason:
        log.debug("no GPU: %s", reason)  # no warning: most machines have none; the doctor reports a broken driver
        return []


def _devices(gpus: Sequence[Gpu]) -> dict[Kind, Device]:
    devices: dict[Kind, Device] = {"cpu": Device("cpu")}
    if gpus:
        devices["gpu"] = Device("gpu", len(gpus))
    return devices


def _decoders(settings: Settings, shares: Shares, aside: Threads) -> Decoders:
    return Decoders(
        shares.decode,
        aside,
        settings.max_image_bytes,
        settings.max_pixels,
        settings.exact_pixels,
        settings.decode_limit_s,
    )


def _registry(
    settings: Settings,
    choose: Choose | None,
    gpus: Sequence[Gpu],
    shares: Shares,
    devices: Mapping[Kind, Device],
    decoders: Decoders,
    metrics: Metrics,
) -> Registry:
    cache_dir = resolved(settings.cache_dir)
    machine = Machine(shares.engine, gpus, Store(cache_dir), settings.max_batch)
    chooser = Chooser(machine, settings.engine, settings.precision, MeasurementCache(cache_dir / "choices.json"))
    timings = Timings(MeasurementCache(cache_dir / "batches.json"), shares.engine, tuple(gpu.name for gpu in gpus))
    limits = QueueLimits(
        settings.queue_images, settings.max_wait_ms / 1e3, settings.max_batch, settings.remember_images
    )
    loader = Loader(choose or chooser, devices, decoders, limits, metrics, timings.measure)
    repository = Repository(settings.model_repository, settings.default_model, metrics)
    threads = Threads(1, "load")
    activator = Activator(loader, threads)
    deployer = Deployer(repository, activator, threads, settings.keep_versions)
    plan_builds = PlanBuilds(
        repository,
        deployer,
        lambda engine: settings.build_plans and machine.could_have_plans(settings.engine, engine),
        machine.has_plans,
        commands(gpus, settings.max_batch, settings.precision, cache_dir),
    )
    return Registry(repository, activator, deployer, plan_builds)


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
