"""The statistics that clients of the Open Inference Protocol ask for, from the text of /metrics."""

import pytest
from google.protobuf.json_format import ParseDict
from prometheus_client import CollectorRegistry

from server import triton_metrics
from server.metrics import Metrics
from server.openinference.statistics import statistics
from server.pb.inference.grpc_service_pb2 import ModelStatisticsResponse

STRANGE = 'a "b"\\n\\\n} 3'
DURATIONS = {
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
}


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(CollectorRegistry())
    served = metrics.of("demo", "10")
    served.outcome("ok")
    served.outcome("ok")
    served.outcome("gone")
    served.refused("queue_full", 4)
    served.dispatched(2, "idle")
    for stage, seconds in (("total", 0.5), ("queue", 0.125), ("decode", 0.25), ("infer", 1), ("respond", 2)):
        served.took(stage, seconds)
        served.took(stage, seconds)
    metrics.of("demo", "9")
    metrics.of(STRANGE, "1").outcome("ok")
    metrics.face("rest").ended("ok")
    return metrics


def _parsed(metrics: Metrics, name: str = "", version: str = "") -> ModelStatisticsResponse:
    text = triton_metrics.text(metrics.registry).decode()
    return ParseDict({"model_stats": statistics(text, name, version)}, ModelStatisticsResponse())


def test_every_number_is_that_of_the_metrics(metrics: Metrics) -> None:
    (model,) = _parsed(metrics, "demo", "10").model_stats
    assert (model.name, model.version, model.inference_count, model.execution_count) == ("demo", "10", 2, 1)
    stats = model.inference_stats
    assert (stats.success.count, stats.success.ns) == (2, 1_000_000_000)
    assert (stats.fail.count, stats.fail.ns) == (5, 0)
    assert (stats.queue.count, stats.queue.ns) == (2, 250_000_000)
    assert (stats.compute_input.count, stats.compute_input.ns) == (2, 500_000_000)
    assert (stats.compute_infer.count, stats.compute_infer.ns) == (2, 2_000_000_000)
    assert (stats.compute_output.count, stats.compute_output.ns) == (2, 4_000_000_000)
    labels = {"model": "demo", "version": "10"}
    last = metrics.registry.get_sample_value("sesame_last_batch_timestamp_seconds", labels)
    assert last is not None and model.last_inference == round(last * 1e3)


def test_all_stages_have_the_count_of_success_also_where_images_are_between_them_or_have_none(metrics: Metrics) -> None:
    served = metrics.of("demo", "10")
    served.took("infer", 1)
    served.outcome("ok")
    (model,) = _parsed(metrics, "demo", "10").model_stats
    stats = model.inference_stats
    counts = {stage.count for stage in (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)}
    assert counts == {3}
    assert (stats.success.count, stats.compute_infer.ns) == (3, 3_000_000_000)


def test_all_eight_durations_are_told_also_where_nothing_has_happened(metrics: Metrics) -> None:
    text = triton_metrics.text(metrics.registry).decode()
    for model in statistics(text):
        durations = model["inference_stats"]
        assert isinstance(durations, dict)
        assert set(durations) == DURATIONS
        assert all(set(duration) == {"count", "ns"} for duration in durations.values())
        assert model["batch_stats"] == []
    (idle,) = _parsed(metrics, "demo", "9").model_stats
    assert (idle.last_inference, idle.inference_count, idle.inference_stats.success.count) == (0, 0, 0)


def test_versions_are_in_the_order_of_their_numbers_and_names_may_have_any_character(metrics: Metrics) -> None:
    found = [(model.name, model.version) for model in _parsed(metrics).model_stats]
    assert found == [(STRANGE, "1"), ("demo", "9"), ("demo", "10")]


def test_a_name_or_a_version_selects(metrics: Metrics) -> None:
    assert [model.version for model in _parsed(metrics, "demo").model_stats] == ["9", "10"]
    assert [model.name for model in _parsed(metrics, STRANGE).model_stats] == [STRANGE]
    assert [model.name for model in _parsed(metrics, "", "1").model_stats] == [STRANGE]
    assert list(_parsed(metrics, "nothing").model_stats) == []


def test_a_text_without_models_has_no_statistics() -> None:
    assert statistics("") == []
    assert statistics(triton_metrics.text(Metrics(CollectorRegistry()).registry).decode()) == []
