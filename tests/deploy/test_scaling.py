"""The queries by which pods are scaled, KEDA's and the adapter's, as Prometheus itself computes them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.support.chart import one

_ADAPTER = REPOSITORY / "deploy" / "helm" / "prometheus-adapter.yaml"
_SAMPLES = {("a", "x"): "1", ("a", "y"): "0.2", ("b", "x"): "0.5", ("b", "y"): "0.1"}
"""Seconds by pod and model."""


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        pytest.skip("needs promtool: apt-get install prometheus")
    return found


def failures(promtool: str, folder: Path, query: str, expected: dict[str, float]) -> str:
    """What promtool says where the query's samples, by pod ("": without one), are not these; empty where they are."""
    series = [
        {
            "series": f'sesame_drain_seconds{{namespace="serving",service="sesame",pod="{pod}",model="{model}"}}',
            "values": f"{seconds}x20",
        }
        for (pod, model), seconds in _SAMPLES.items()
    ]
    samples = [{"labels": f'{{pod="{pod}"}}' if pod else "{}", "value": seconds} for pod, seconds in expected.items()]
    test = {"expr": query, "eval_time": "4m", "exp_samples": samples}
    unit = {"tests": [{"interval": "15s", "input_series": series, "promql_expr_test": [test]}]}
    path = folder / "test.yml"
    path.write_text(json.dumps(unit), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def test_keda_is_told_the_sum_over_pods_of_their_slowest_models(promtool: str, tmp_path: Path) -> None:
    chart = one({"autoscaling": {"kind": "keda"}})
    (trigger,) = chart.spec("ScaledObject")["triggers"]
    assert trigger["metricType"] == "AverageValue"  # KEDA divides by the pods
    assert failures(promtool, tmp_path, trigger["metadata"]["query"], {"": 1.5}) == ""
    assert failures(promtool, tmp_path, trigger["metadata"]["query"], {"": 1.8}) != ""


def test_the_adapter_has_the_slowest_model_of_each_pod(promtool: str, tmp_path: Path) -> None:
    (rule,) = yaml.safe_load(_ADAPTER.read_text(encoding="utf-8"))["rules"]["custom"]
    filled = {
        "<<.Series>>": "sesame_drain_seconds",
        "<<.LabelMatchers>>": 'namespace="serving",pod=~"a|b"',
        "<<.GroupBy>>": "pod",
    }
    query = rule["metricsQuery"]
    for placeholder, text in filled.items():
        query = query.replace(placeholder, text)
    assert rule["name"]["as"] == "sesame_drain_seconds"
    assert failures(promtool, tmp_path, query, {"a": 1, "b": 0.5}) == ""
    assert failures(promtool, tmp_path, query, {"a": 1.2, "b": 0.6}) != ""
