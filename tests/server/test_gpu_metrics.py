"""The figures of GPUs, over a fake NVML whose functions NVIDIA's package has too."""

import inspect
import sys
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry

from server.gpu_metrics import GpuMetrics, show_gpus
from tests.support.fake_nvml import FakeNvml


def _values(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    samples = [sample for family in registry.collect() for sample in family.samples]
    return {(sample.name.removeprefix("sesame_gpu_"), sample.labels["gpu"]): sample.value for sample in samples}


def _registry(nvml: FakeNvml) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(GpuMetrics(nvml))
    return registry


def test_each_gpu_has_its_figures_in_base_units() -> None:
    registry = _registry(FakeNvml())
    values = _values(registry)
    assert {name: value for (name, gpu), value in values.items() if gpu == "0"} == {
        "utilization_ratio": 0.75,
        "memory_used_bytes": 8 << 30,
        "memory_total_bytes": 80 << 30,
        "temperature_celsius": 40,
        "power_watts": 350.5,
    }
    assert registry.get_sample_value("sesame_gpu_temperature_celsius", {"gpu": "1", "uuid": "GPU-101"}) == 41


def test_a_figure_that_a_gpu_does_not_have_is_left_out() -> None:
    values = _values(_registry(FakeNvml()))
    assert ("power_watts", "1") not in values
    assert ("memory_used_bytes", "1") in values


def test_a_lost_gpu_takes_no_figures_of_another_one_with_it() -> None:
    nvml = FakeNvml()
    registry = _registry(nvml)
    nvml.lost = True
    assert {gpu for _, gpu in _values(registry)} == {"0"}


def test_without_nvml_there_are_no_figures_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bindings = ModuleType("cuda.bindings")  # without nvml: as in an older package
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    registry = CollectorRegistry()
    show_gpus(registry)
    assert _values(registry) == {}
    assert "NVML cannot be used" in caplog.text


def test_nvidias_package_has_each_function_that_is_used() -> None:
    nvml = pytest.importorskip("cuda.bindings.nvml", reason="needs cuda-bindings: make setup")
    used = {name for name, _ in inspect.getmembers(FakeNvml) if name[0] != "_"}
    assert used <= set(dir(nvml))
    assert issubclass(nvml.NotSupportedError, nvml.NvmlError)
    assert nvml.TemperatureSensors.TEMPERATURE_GPU == 0
