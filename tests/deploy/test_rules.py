"""deploy/prometheus: Prometheus reads it, its alerts fire where they should, and each names a cure that exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.support.prometheus import FILES, promtool

_RULES = sorted((FILES / "rules").glob("*.yml"))
_TESTS = sorted((FILES / "tests").glob("*.yml"))


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """By name: of "alert" or "record"."""
    groups = [group for path in _RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


def test_prometheus_reads_the_configuration_and_the_rules() -> None:
    code, said = promtool("check", "config", "prometheus.yml")
    assert code == 0, said
    code, said = promtool("check", "rules", "--lint-fatal", *map(str, _RULES))
    assert code == 0, said


def test_each_alert_fires_where_it_should() -> None:
    code, said = promtool("test", "rules", *map(str, _TESTS))
    assert code == 0, said


def test_an_alert_that_fires_too_early_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    for path in (*_RULES, *_TESTS):
        text = path.read_text().replace('up{job="sesame"} == 0', 'up{job="sesame"} == 1')
        (tmp_path / path.parent.name / path.name).write_text(text)
    code, said = promtool("test", "rules", "tests/alerts.yml", folder=tmp_path)
    assert code != 0 and "SesameDown" in said


def test_each_alert_has_a_test() -> None:
    tested = set(re.findall(r'ALERTS\{alertname="(\w+)"', "".join(path.read_text() for path in _TESTS)))
    assert tested == rules("alert").keys()


@pytest.mark.parametrize("name", rules("alert"))
def test_an_alert_says_what_is_wrong_and_names_the_cure_and_a_section_that_exists(name: str) -> None:
    rule = rules("alert")[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    said = rule["annotations"]
    assert said.keys() == {"summary", "description", "guide"}
    assert all(said.values())
    file, _, section = said["guide"].partition("#")
    assert section in anchors(REPOSITORY / file)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_guide_lists_each_alert_with_its_severity() -> None:
    rows = re.findall(r"^\| `(Sesame\w+)` \| (\w+) \|", (REPOSITORY / "docs" / "compose.md").read_text(), re.MULTILINE)
    assert dict(rows) == {name: rule["labels"]["severity"] for name, rule in rules("alert").items()}
