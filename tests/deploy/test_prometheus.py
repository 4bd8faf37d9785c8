"""A real Prometheus over a real server under load: every panel, rule and alert has data."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.conftest import Loaded
from tests.deploy.test_rules import rules
from tests.support.dashboard import asked_for_variables, queries
from tests.support.prometheus import Prometheus, scraping

_COMPARISON = re.compile(r" (==|>)(?= |$)")
_NEEDS_GPU = ("GPU load", "GPU memory", "GPU temperature", "GPU power")
_ARRIVES_WITH_KEYS = ("Images by key",)
_NEEDS_FRONTS = ("Fronts and restarts", "SesameProcessesRestart")


@pytest.fixture(scope="module")
def prometheus(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with scraping(loaded.port, folder) as prometheus:
        yield prometheus


def shown(expression: str) -> str:
    """An alert's expression, whose comparisons answer 0 or 1 instead of dropping what they do not meet."""
    return _COMPARISON.sub(r" \1 bool", expression.replace("\n", " "))


def test_every_panel_rule_and_alert_has_data_under_load(loaded: Loaded, prometheus: Prometheus) -> None:
    asked = queries()
    asked |= {name: [name] for name in rules("record")}
    asked |= {name: [shown(rule["expr"])] for name, rule in rules("alert").items()}
    asked["variables"] = asked_for_variables()
    absent = {*_NEEDS_GPU, *_ARRIVES_WITH_KEYS, *(() if loaded.fronts else _NEEDS_FRONTS)}
    assert absent < asked.keys()
    expected = {each for title, expressions in asked.items() if title not in absent for each in expressions}
    assert prometheus.unanswered(expected) == set()


def test_a_query_without_data_is_noticed(prometheus: Prometheus) -> None:
    known, misspelt = "sesame_build_info", "sesame_bild_info"
    assert prometheus.unanswered([known]) == set()
    assert prometheus.unanswered([known, misspelt], limit_s=1) == {misspelt}


def test_each_alerts_comparisons_are_replaced() -> None:
    assert shown('a{b!="c"} > 0.05 # x') == 'a{b!="c"} > bool 0.05 # x'
    assert all(" bool" in shown(rule["expr"]) for rule in rules("alert").values())


def test_the_server_is_seen_and_is_not_said_to_be_down(prometheus: Prometheus) -> None:
    assert prometheus.unanswered(['up{job="sesame"} == 1']) == set()
    assert prometheus.query('ALERTS{alertname=~"SesameDown|SesameNotReady|SesameEngineSick"}') == []
