"""The names that Triton's dashboards read: which of our numbers each has, and that Prometheus can read them."""

import re

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from server import triton_metrics
from server.metrics import Metrics

NAMES = {
    "nv_inference_request_success": "counter",
    "nv_inference_request_failure": "counter",
    "nv_inference_count": "counter",
    "nv_inference_exec_count": "counter",
    "nv_inference_pending_request_count": "gauge",
    "nv_inference_request_duration_us": "counter",
    "nv_inference_queue_duration_us": "counter",
    "nv_inference_compute_input_duration_us": "counter",
    "nv_inference_compute_infer_duration_us": "counter",
    "nv_inference_compute_output_duration_us": "counter",
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def _lines(metrics: Metrics) -> list[str]:
    return [line for line in triton_metrics.text(metrics.registry).decode().splitlines() if "nv_" in line]


def _values(metrics: Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in _lines(metrics) if line[0] != "#")}


def test_each_name_is_tritons_and_described_once(metrics: Metrics) -> None:
    metrics.of("demo", "1").watch(lambda: 0, lambda: 0, lambda: 0)
    types = [line.split(" ")[2:] for line in _lines(metrics) if line.startswith("# TYPE")]
    assert dict(types) == NAMES
    assert len(types) == len(NAMES)
    assert [line.split(" ")[2] for line in _lines(metrics) if line.startswith("# HELP")] == [name for name, _ in types]
    assert {name.split("{")[0] for name in _values(metrics)} == set(NAMES)


def test_samples_follow_the_line_that_says_their_type(metrics: Metrics) -> None:
    metrics.of('a "b" untyped\n# TYPE x untyped\n', "1").outcome("ok")
    described = ""
    for line in _lines(metrics):
        if line.startswith("# TYPE"):
            described = line.split(" ")[2]
        elif line[0] != "#":
            assert line.split("{")[0] == described
    families = text_string_to_metric_families(triton_metrics.text(metrics.registry).decode())
    samples = [sample for family in families if family.name.startswith("nv_") for sample in family.samples]
    assert {sample.labels["model"] for sample in samples} == {'a "b" untyped\n# TYPE x untyped\n'}


def test_our_metrics_come_first_and_unchanged(metrics: Metrics) -> None:
    metrics.of("demo", "1").took("decode", 0.01)
    text = triton_metrics.text(metrics.registry).decode()
    before, _, after = text.partition("# HELP nv_")
    assert "sesame_" not in re.sub(r"#.*", "", after)
    assert 'sesame_stage_seconds_count{model="demo",stage="decode",version="1"} 1.0' in before


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("deadline", "REJECTED"),
        ("queue_full", "REJECTED"),
        ("gone", "CANCELED"),
        ("engine_failed", "BACKEND"),
        ("bad_image", "OTHER"),
        ("internal", "OTHER"),
    ],
)
def test_a_failed_image_has_one_reason(metrics: Metrics, outcome: str, reason: str) -> None:
    metrics.of("demo", "1").outcome(outcome)
    failed = {name: value for name, value in _values(metrics).items() if "request_failure" in name}
    assert len(failed) == len(triton_metrics.REASONS)
    assert {name for name, value in failed.items() if value} == {
        f'nv_inference_request_failure{{model="demo",reason="{reason}",version="1"}}'
    }


def test_refused_images_are_rejected_whatever_the_code(metrics: Metrics) -> None:
    metrics.of("demo", "1").refused("queue_full", 3)
    metrics.of("demo", "1").refused("draining", 2)
    metrics.of("demo", "1").outcome("deadline")
    assert _values(metrics)['nv_inference_request_failure{model="demo",reason="REJECTED",version="1"}'] == 6


def test_each_duration_is_a_stage_in_microseconds(metrics: Metrics) -> None:
    demo = metrics.of("demo", "1")
    for index, stage in enumerate(("total", "queue", "decode", "infer", "respond", "receive")):
        demo.took(stage, 10.0**index)
        demo.took(stage, 0.25)
    names = ("request", "queue", "compute_input", "compute_infer", "compute_output")
    for index, name in enumerate(names):
        value = _values(metrics)[f'nv_inference_{name}_duration_us{{model="demo",version="1"}}']
        assert value == (10.0**index + 0.25) * 1e6


def test_images_batches_and_those_that_wait_are_counted_for_each_version(metrics: Metrics) -> None:
    one, two = metrics.of("demo", "1"), metrics.of("demo", "2")
    one.dispatched(3, "idle")
    one.dispatched(5, "full")
    two.dispatched(1, "idle")
    two.watch(lambda: 9, lambda: 4, lambda: 0.5)
    values = _values(metrics)
    assert [values[f'nv_inference_count{{model="demo",version="{version}"}}'] for version in "12"] == [8, 1]
    assert [values[f'nv_inference_exec_count{{model="demo",version="{version}"}}'] for version in "12"] == [2, 1]
    assert values['nv_inference_pending_request_count{model="demo",version="2"}'] == 4
    assert values['nv_inference_request_success{model="demo",version="1"}'] == 0


def test_a_server_without_models_has_the_names_alone(metrics: Metrics) -> None:
    assert _values(metrics) == {}
    assert len(_lines(metrics)) == 2 * len(NAMES)


def test_the_time_of_the_last_batch_is_set_by_a_batch(metrics: Metrics) -> None:
    demo = metrics.of("demo", "1")
    labels = {"model": "demo", "version": "1"}
    assert metrics.registry.get_sample_value("sesame_last_batch_timestamp_seconds", labels) == 0
    demo.dispatched(1, "idle")
    first = metrics.registry.get_sample_value("sesame_last_batch_timestamp_seconds", labels)
    assert first is not None and first > 1.7e9
