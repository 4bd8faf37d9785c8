"""The metrics of several processes as one text: sums that Prometheus can read."""

import zlib
from collections import Counter as Count

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from server import triton_metrics
from server.metrics import Metrics
from server.processes.wire import exposition

STRANGE = 'a"b\\c\nd,e}{'


def process(seed: int) -> CollectorRegistry:
    """The metrics of a process that has served."""
    metrics = Metrics(CollectorRegistry())
    for _ in range(seed):
        metrics.requests.labels("rest", "ok").inc()
        metrics.of("demo", "1").took("decode", 0.003 * seed)
        metrics.of("demo", str(seed)).dispatched(seed, "idle")
    metrics.refused.labels(STRANGE, "1", "queue_full").inc(seed)
    metrics.decodes_given_up.inc(seed)
    metrics.receiving_bytes.set(10 * seed)
    return metrics.registry


def texts(*registries: CollectorRegistry) -> list[str]:
    return [exposition.unpacked(exposition.packed(registry)) for registry in registries]


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """By name and labels, each once."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def ours(text: bytes) -> Samples:
    """Without what is derived from them under Triton's names."""
    return {key: value for key, value in samples(text.decode()).items() if not key[0].startswith("nv_inference_")}


def test_each_sample_is_the_sum_and_its_beginning_the_earliest_and_another_time_the_latest() -> None:
    parts = texts(process(1), process(2), process(3))
    merged = ours(exposition.merged(parts))
    each = [samples(part) for part in parts]
    assert merged.keys() == set().union(*each)
    for key, value in merged.items():
        values = [part[key] for part in each if key in part]
        both = min if key[0].endswith("_created") else max if key[0].endswith("_timestamp_seconds") else sum
        assert value == pytest.approx(both(values), rel=1e-15)
    assert merged["sesame_requests_total", frozenset({("face", "rest"), ("outcome", "ok")})] == 6
    assert merged["sesame_receiving_bytes", frozenset()] == 60
    assert any(STRANGE in dict(labels).values() for _, labels in merged)


def test_the_metrics_of_one_process_stay_as_they_are() -> None:
    registry = process(2)
    assert ours(exposition.merged(texts(registry))) == samples(generate_latest(registry).decode())
    assert exposition.merged(texts(registry)) == triton_metrics.text(registry)


def test_tritons_names_have_the_sums_of_all_processes_counted_once() -> None:
    parts = [process(1), process(2), process(3)]
    merged = _triton(exposition.merged(texts(*parts)))
    each = [_triton(triton_metrics.text(part)) for part in parts]
    assert merged.keys() == set().union(*each)
    for key, value in merged.items():
        assert value == pytest.approx(sum(part.get(key, 0) for part in each), abs=1)  # microseconds are rounded
    assert merged['nv_inference_count{model="demo",version="3"}'] == 9
    assert merged['nv_inference_exec_count{model="demo",version="2"}'] == 2


def _triton(text: bytes) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in text.decode().splitlines() if line.startswith("nv_inference_")]
    assert len(dict(lines)) == len(lines) > 0
    return {name: float(value) for name, value in lines}


def described(text: str, kind: str) -> set[str]:
    return {line.split(" ", 3)[2] for line in text.splitlines() if line.startswith(kind)}


def test_each_family_is_described_once_under_its_own_name() -> None:
    parts = texts(process(1), process(2))
    lines = exposition.merged(parts).decode().splitlines()
    for kind in ("# HELP", "# TYPE"):
        named = Count(line.split(" ", 3)[2] for line in lines if line.startswith(kind))
        assert set(named.values()) == {1}
        assert {name for name in named if name.startswith("sesame_")} == described(parts[0], kind) | described(
            parts[1], kind
        )
    assert "# TYPE sesame_requests_total counter" in lines
    assert "# TYPE sesame_stage_seconds histogram" in lines
    assert "# TYPE sesame_requests_created gauge" in lines


def test_buckets_stay_in_order_behind_their_family() -> None:
    lines = exposition.merged(texts(process(1), process(2))).decode().splitlines()
    buckets = [line for line in lines if line.startswith("sesame_batch_images_bucket") and 'version="2"' in line]
    edges = [line.split('le="')[1].split('"')[0] for line in buckets]
    assert edges == ["1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "64.0", "128.0", "+Inf"]
    counts = [float(line.rsplit(" ", 1)[1]) for line in buckets]
    assert counts == sorted(counts)


def test_labels_in_another_order_are_the_same() -> None:
    one, other = 'x{a="1",b="2"} 3\n', 'x{b="2",a="1"} 4\n'
    head = "# HELP x y\n# TYPE x gauge\n"
    assert ours(exposition.merged([head + one, head + other])) == {("x", frozenset({("a", "1"), ("b", "2")})): 7}


def test_processes_that_know_different_metrics_are_shown_together() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    Gauge("one", "one", registry=one).set(1)
    Histogram("both", "both", ("a",), registry=one, buckets=(1,)).labels("x").observe(0.5)
    Histogram("both", "both", ("a",), registry=other, buckets=(1,)).labels("y").observe(2)
    Counter("other", "other", registry=other).inc(2)
    merged = samples(exposition.merged(texts(one, other)).decode())
    assert merged["one", frozenset()] == 1
    assert merged["other_total", frozenset()] == 2
    assert merged["both_bucket", frozenset({("a", "x"), ("le", "1.0")})] == 1
    assert merged["both_bucket", frozenset({("a", "y"), ("le", "1.0")})] == 0


@pytest.mark.parametrize("junk", ["x{", 'x{a="1" 3\n', "x one\n", "\0", "# TYPE x nonsense\nx 1\n"])
def test_a_text_that_cannot_be_read_is_left_out(junk: str, caplog: pytest.LogCaptureFixture) -> None:
    good = texts(process(2))
    assert ours(exposition.merged([*good, "sesame_receiving_bytes 5\n" + junk])) == samples(good[0])
    assert "left out" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"text",
        zlib.compress(b"\xff"),
        zlib.compress(b"x 1\n" * 100)[:-5],
        exposition.packed(process(1))[:100],
        zlib.compress(bytes((64 << 20) + 1), 1),
    ],
    ids=["empty", "not compressed", "not text", "no end", "torn", "too long"],
)
def test_what_is_no_packed_text_is_an_error(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r"metrics of a process|decode"):
        exposition.unpacked(wrong)
