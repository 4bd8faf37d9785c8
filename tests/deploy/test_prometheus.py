"""A real server under load: the guide has each of its metrics, and a real Prometheus has data for all that is asked."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.attacks.server import Server
from tests.deploy.test_metrics_guide import differences, guide, page, served
from tests.deploy.test_rules import rules
from tests.support import fast
from tests.support.dashboard import asked_for_variables, queries
from tests.support.keys import bearer, table, write
from tests.support.overload import OPTIONS, Overload
from tests.support.prometheus import Prometheus, promtool, scraping

_COMPARISON = re.compile(r" (==|>)(?= |$)")
_CREATED = re.compile(r"^\w+_created ")
_NEEDS_GPU = ("GPU load", "GPU memory", "GPU temperature", "GPU power")
_NEEDS_FRONTS = ("Fronts and restarts", "SesameProcessesRestart")


class Loaded(NamedTuple):
    """A server under load. `fronts`: how many it has; `port`: of HTTP."""

    fronts: int
    port: int

    def metrics(self) -> str:
        """Of all its processes: one that does not answer within a second is left out, so they are asked again."""
        text = ""
        while any(f'process="front-{number}"' not in text for number in range(self.fronts)) or not text:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=60)
            assert answer.status_code == 200
            text = answer.text
        return text


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "two fronts"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    fast.leave("starts a server")
    folder: Path = tmp_path_factory.mktemp("server")
    fronts: int = request.param
    keys = write(folder / "keys.toml", table("shop", quota_per_day=1_000_000))
    options = [*OPTIONS, f"--fronts={fronts}", f"--keys={keys}", "--no-metrics-need-key"]
    with Server(folder, options) as server, Overload(server.http_port, bearer("shop")) as overload:
        overload.until_seen(200, 429)
        yield Loaded(fronts, server.http_port)


@pytest.fixture(scope="module")
def prometheus(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with scraping(loaded.port, folder) as prometheus:
        yield prometheus


def test_the_guide_lists_each_metric_that_a_server_has_and_no_other(loaded: Loaded) -> None:
    where = ("all", "fronts") if loaded.fronts else ("all",)
    there = served(loaded.metrics())
    assert differences(guide(page(), *where), there) == []
    assert [name for name, told in there.items() if told.labels is None] == []


def test_prometheus_finds_nothing_wrong_with_our_metrics(loaded: Loaded) -> None:
    """Triton's names are Triton's, and those of times of beginning are the client library's."""
    text = loaded.metrics()
    complaints = _complaints(text)
    assert {line for line in complaints if not line.startswith("nv_inference_") and not _CREATED.match(line)} == set()
    faulty = text.replace("# TYPE sesame_refused_total counter", "# TYPE sesame_refused_total gauge")
    assert any(line.startswith("sesame_refused_total") for line in _complaints(faulty))


def _complaints(text: str) -> list[str]:
    code, said = promtool("check", "metrics", given=text)
    lines = said.splitlines()
    assert (code == 0) == (not lines), said
    assert not any("error while linting" in line for line in lines), said
    return lines


def shown(expression: str) -> str:
    """An alert's expression, whose comparisons answer 0 or 1 instead of dropping what they do not meet."""
    return _COMPARISON.sub(r" \1 bool", expression.replace("\n", " "))


def test_every_panel_rule_and_alert_has_data_under_load(loaded: Loaded, prometheus: Prometheus) -> None:
    asked = queries()
    asked |= {name: [name] for name in rules("record")}
    asked |= {name: [shown(rule["expr"])] for name, rule in rules("alert").items()}
    asked["variables"] = asked_for_variables()
    absent = {*_NEEDS_GPU, *(() if loaded.fronts else _NEEDS_FRONTS)}
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
