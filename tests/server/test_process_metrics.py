"""What each process shows of itself, and what becomes of it where there are several."""

import os

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from server.process_metrics import SERVER, ProcessMetrics, show_core, show_process
from server.processes.wire import exposition


def _value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_the_figures_are_prometheus_own_with_the_name_of_the_process() -> None:
    registry, plain = CollectorRegistry(), CollectorRegistry()
    show_process(registry, SERVER)
    ProcessCollector(pid=os.getpid, registry=plain)
    for name in ("process_start_time_seconds", "process_max_fds"):  # those that do not change meanwhile
        assert _value(registry, name, process="server") == _value(plain, name) is not None
    cpu = _value(registry, "process_cpu_seconds_total", process="server")
    assert cpu is not None and cpu > 0


def test_the_core_shows_its_parent_too() -> None:
    registry = CollectorRegistry()
    show_core(registry, 0, lambda: 2)
    core = _value(registry, "process_start_time_seconds", process="core")
    parent = _value(registry, "process_start_time_seconds", process="parent")
    assert core is not None and parent is not None and parent <= core
    assert _value(registry, "sesame_fronts") == 2


def test_processes_keep_their_own_figures_and_one_build_info_stays_one() -> None:
    registries = [CollectorRegistry() for _ in range(3)]
    show_core(registries[0], 1, lambda: 2)
    show_process(registries[1], "front-0", 0)
    show_process(registries[2], "front-1", 4)
    texts = [exposition.unpacked(exposition.packed(registry)) for registry in registries]
    lines = exposition.merged(texts).decode().splitlines()
    assert {line for line in lines if line.startswith("sesame_restarts_total")} == {
        'sesame_restarts_total{process="core"} 1.0',
        'sesame_restarts_total{process="front-0"} 0.0',
        'sesame_restarts_total{process="front-1"} 4.0',
    }
    starts = {line.split(" ")[0] for line in lines if line.startswith("process_start_time_seconds")}
    assert len(starts) == 4
    (build,) = (line for line in lines if line.startswith("sesame_build_info"))
    assert build.endswith(" 1.0")


def test_a_process_that_has_gone_is_left_out() -> None:
    assert list(ProcessMetrics("gone", lambda: 1 << 30).collect()) == []


@pytest.mark.parametrize("restarts", [0, 3])
def test_a_process_without_a_parent_says_nothing_of_restarts(restarts: int) -> None:
    alone, child = CollectorRegistry(), CollectorRegistry()
    show_process(alone, SERVER)
    show_process(child, "front-0", restarts)
    assert _value(alone, "sesame_restarts_total", process="server") is None
    assert _value(child, "sesame_restarts_total", process="front-0") == restarts
