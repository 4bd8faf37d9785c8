"""GPU metrics: load, memory, temperature and power of each GPU, read by NVML whenever metrics are read."""

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

_LABELS = ("gpu", "uuid")
_GPU_SENSOR = 0  # nvml.h: NVML_TEMPERATURE_GPU

Nvml = Any
"""`cuda.bindings.nvml`, which has no types."""


class _Figure(NamedTuple):
    name: str
    help: str
    read: Callable[[Nvml, int], float]  # of NVML and the handle of a GPU


_FIGURES = (
    _Figure(
        "sesame_gpu_utilization_ratio",
        "Share of the time in which a kernel ran, over the last second or less.",
        lambda nvml, gpu: nvml.device_get_utilization_rates(gpu).gpu / 100,
    ),
    _Figure(
        "sesame_gpu_memory_used_bytes",
        "Memory that all processes use on this GPU, with what the driver reserves.",
        lambda nvml, gpu: nvml.device_get_memory_info_v2(gpu).used,
    ),
    _Figure(
        "sesame_gpu_memory_total_bytes",
        "Memory that this GPU has.",
        lambda nvml, gpu: nvml.device_get_memory_info_v2(gpu).total,
    ),
    _Figure(
        "sesame_gpu_temperature_celsius",
        "Temperature of this GPU.",
        lambda nvml, gpu: nvml.device_get_temperature_v(gpu, _GPU_SENSOR),
    ),
    _Figure(
        "sesame_gpu_power_watts",
        "Power that this GPU draws.",
        lambda nvml, gpu: nvml.device_get_power_usage(gpu) / 1000,
    ),
)


class GpuMetrics(Collector):
    """Of all GPUs that NVML shows to this process, numbered as nvidia-smi does. A figure that a GPU does not have is
    left out, as are all of a GPU that is lost.
    """

    def __init__(self, nvml: Nvml) -> None:
        """Raises NVML's errors where it cannot be used."""
        self._nvml = nvml
        nvml.init_v2()
        handles = [nvml.device_get_handle_by_index_v2(index) for index in range(nvml.device_get_count_v2())]
        self._gpus = [(handle, (str(index), str(nvml.device_get_uuid(handle)))) for index, handle in enumerate(handles)]

    def collect(self) -> Iterable[Metric]:
        for figure in _FIGURES:
            family = GaugeMetricFamily(figure.name, figure.help, labels=_LABELS)
            for handle, labels in self._gpus:
                with contextlib.suppress(self._nvml.NvmlError):
                    family.add_metric(labels, float(figure.read(self._nvml, handle)))
            yield family


def show_gpus(registry: CollectorRegistry) -> None:
    """Add the figures of the GPUs. Call it only where there are some: it imports NVML. Where that cannot be used, the
    log says why, and there are none.
    """
    try:
        from cuda.bindings import nvml

        registry.register(GpuMetrics(nvml))
    except Exception as error:  # the loader and NVML have their own errors
        log.warning("no GPU figures in /metrics: NVML cannot be used (%s)", error)
