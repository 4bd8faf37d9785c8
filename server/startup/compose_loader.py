"""Compose loader: builds what makes a bundle's folder a model that answers: decoders, devices, engines, loader."""

from collections.abc import Callable, Mapping, Sequence

from bundle.files import Bundle
from server.decoding.decoders import Decoders
from server.engines.choice import Choice, Chooser
from server.engines.machine import Machine
from server.engines.measurements import MeasurementCache
from server.engines.table import Kind
from server.engines.timings import Timings
from server.host.cores import Shares
from server.journal import Spans
from server.metrics import Metrics
from server.registry.loader import Decoding, Loader, QueueLimits
from server.scheduling.device import Device
from server.scheduling.threads import Threads
from server.settings import Settings
from trt.gpus import Gpu
from trt.store import Store, resolved

Choose = Callable[[Bundle], Choice]


def compose_machine(settings: Settings, shares: Shares, gpus: Sequence[Gpu]) -> Machine:
    """What engines may use, as the settings allow it."""
    return Machine(shares.engine, gpus, Store(resolved(settings.cache_dir)), settings.max_batch)


def compose_devices(gpus: Sequence[Gpu]) -> dict[Kind, Device]:
    """The CPU, and one device for all GPUs. Their lanes begin to wait for work."""
    devices: dict[Kind, Device] = {"cpu": Device("cpu")}
    if gpus:
        devices["gpu"] = Device("gpu", len(gpus))
    return devices


def compose_decoders(settings: Settings, shares: Shares, aside: Threads) -> Decoders:
    """Threads that decode as the settings allow it. `aside`: see `Decoders`."""
    return Decoders(
        shares.decode,
        aside,
        settings.max_image_bytes,
        settings.max_pixels,
        settings.exact_pixels,
        settings.decode_limit_s,
    )


def compose_loader(
    settings: Settings,
    machine: Machine,
    devices: Mapping[Kind, Device],
    decoding: Decoding,
    limits: QueueLimits,
    metrics: Metrics,
    choose: Choose | None = None,
    spans: Spans | None = None,
) -> Loader:
    """`choose` decides on the engine of a bundle instead of the settings. `spans`: see `Loader`."""
    cache_dir = resolved(settings.cache_dir)
    chooser = Chooser(machine, settings.engine, settings.precision, MeasurementCache(cache_dir / "choices.json"))
    names = tuple(gpu.name for gpu in machine.gpus)
    timings = Timings(MeasurementCache(cache_dir / "batches.json"), machine.threads, names)
    return Loader(choose or chooser, devices, decoding, limits, metrics, timings.measure, spans)
