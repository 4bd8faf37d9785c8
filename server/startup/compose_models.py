"""Compose models: builds the parts that know, load and run models, and connects them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from server.engines import table
from server.engines.table import Kind
from server.gpu_metrics import show_gpus
from server.host.cores import Shares
from server.journal import Spans
from server.metrics import Metrics
from server.registry.activator import Activator, Offer, to_nobody
from server.registry.deployer import Deployer
from server.registry.loader import Decoding, QueueLimits
from server.registry.plan_builds import PlanBuilds, commands
from server.registry.registry import Registry
from server.scheduling.device import Device
from server.scheduling.threads import Threads
from server.settings import Settings
from server.startup.compose_loader import Choose, compose_devices, compose_loader, compose_machine
from server.startup.compose_repository import compose_repository
from server.watch import EngineWatch
from trt.gpus import Gpu, NoGpu, gpus
from trt.store import resolved

log = logging.getLogger(__name__)

__all__ = ["Choose", "Models", "compose_models", "usable_gpus"]


@dataclass(frozen=True)
class Models:
    """The models of this process, and the watch over their engines."""

    registry: Registry
    watch: EngineWatch


def compose_models(
    settings: Settings,
    shares: Shares,
    decoding: Decoding,
    metrics: Metrics,
    choose: Choose | None = None,
    gpus: Sequence[Gpu] | None = None,
    offer: Offer = to_nobody,
    spans: Spans | None = None,
) -> Models:
    """Call it on the event loop. Raises BundleError where there is nothing to serve.

    `choose` decides on the engine of a bundle instead of the settings; `gpus` are used instead of those CUDA shows.
    `offer`: see `Activator`; `spans`: see `Loader`.
    """
    gpus = usable_gpus(settings.engine) if gpus is None else gpus
    devices = compose_devices(gpus)
    metrics.max_wait_seconds.set(settings.max_wait_ms / 1e3)
    metrics.permits_limit.set(settings.queue_images)
    if gpus:
        show_gpus(metrics.registry)
    registry = _registry(settings, choose, gpus, shares, devices, decoding, metrics, offer, spans)
    return Models(registry, EngineWatch(list(devices.values()), registry.repository, settings.engine_limit_s))


def usable_gpus(engine: str) -> Sequence[Gpu]:
    """The GPUs that this process may use; none where the operator chose a CPU engine: CUDA is then not touched."""
    if not table.wants_gpus(engine):
        return []
    try:
        return gpus()
    except NoGpu as reason:
        log.debug("no GPU: %s", reason)  # no warning: most machines have none; the doctor reports a broken driver
        return []


def _registry(
    settings: Settings,
    choose: Choose | None,
    gpus: Sequence[Gpu],
    shares: Shares,
    devices: dict[Kind, Device],
    decoding: Decoding,
    metrics: Metrics,
    offer: Offer,
    spans: Spans | None,
) -> Registry:
    machine = compose_machine(settings, shares, gpus)
    limits = QueueLimits(
        settings.queue_images, settings.max_wait_ms / 1e3, settings.max_batch, settings.remember_images
    )
    loader = compose_loader(settings, machine, devices, decoding, limits, metrics, choose, spans)
    repository = compose_repository(settings, metrics)
    threads = Threads(1, "load")
    activator = Activator(loader, threads, offer, repository.fetch)
    deployer = Deployer(repository, activator, threads, settings.keep_versions)
    plan_builds = PlanBuilds(
        repository,
        deployer,
        lambda engine: settings.build_plans and machine.could_have_plans(settings.engine, engine),
        machine.has_plans,
        commands(gpus, settings.max_batch, settings.precision, resolved(settings.cache_dir)),
    )
    return Registry(repository, activator, deployer, plan_builds, settings.watch_s, settings.keep_going)
