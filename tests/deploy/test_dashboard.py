"""The dashboard: Grafana can show it, and it asks only for metrics that exist."""

import itertools
import re
from typing import Any

import yaml

from tests.conftest import REPOSITORY
from tests.deploy.test_metrics_guide import guide, page
from tests.deploy.test_rules import rules
from tests.support.dashboard import asked_for_variables, dashboard, panels, queries

"""Metrics of panels that come with API keys."""

_COLUMNS = 24
_OF_PROMETHEUS = {"ALERTS"}
_METRIC = re.compile(r"\b((?:sesame|process|nv)_\w+|ALERTS|\w+:\w+:\w+)(?=[{\[\s)]|$)")


def _cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))


def test_panels_have_numbers_of_their_own_and_lie_beside_one_another() -> None:
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        cells = _cells(panel)
        assert cells and {x for x, _ in cells} <= set(range(_COLUMNS)), panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_panel_says_what_it_shows_and_asks_the_chosen_data_source() -> None:
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert all(target["expr"].strip() for target in panel["targets"])


def test_the_variables_are_those_that_queries_use() -> None:
    names = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", FILE_TEXT)) - {"__rate_interval", "__all"}
    assert used == names == {"datasource", "instance", "model"}


FILE_TEXT = (REPOSITORY / "deploy" / "grafana" / "dashboards" / "sesame.json").read_text()


def test_dashboard_and_rules_ask_only_for_metrics_that_exist() -> None:
    known = set(guide(page(), "all", "fronts", "gpu"))
    known |= {name + end for name in known for end in ("_bucket", "_sum", "_count")} | rules("record").keys()
    asked = "\n".join(expression for each in queries().values() for expression in each)
    ruled = "\n".join(rule["expr"] for kind in ("alert", "record") for rule in rules(kind).values())
    named = {name for text in (asked, ruled, *asked_for_variables()) for name in _METRIC.findall(text)}
    assert named - known - _OF_PROMETHEUS == set()
    assert set(_METRIC.findall("sum(rate(sesame_requestz_total{a}[5m]))")) - known == {"sesame_requestz_total"}


def test_grafana_is_given_the_dashboard_and_the_data_source_that_it_names() -> None:
    folder = REPOSITORY / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    (chosen,) = [each for each in dashboard()["templating"]["list"] if each["name"] == "datasource"]
    assert (source["type"], source["uid"]) == (chosen["query"], chosen["current"]["value"])
    (provider,) = yaml.safe_load((folder / "dashboards" / "sesame.yml").read_text())["providers"]
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert source["url"] == "http://prometheus:9090"
