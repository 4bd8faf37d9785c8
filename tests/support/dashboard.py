"""The dashboard of deploy/grafana, and its queries as Prometheus is asked them."""

import json
import re
from typing import Any

from tests.conftest import REPOSITORY

FILE = REPOSITORY / "deploy" / "grafana" / "dashboards" / "sesame.json"


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FILE.read_text())
    return read


def panels() -> list[dict[str, Any]]:
    """Without the rows, which are titles."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def filled(expression: str) -> str:
    """With Grafana's variables as they are for everything, and half a minute."""
    for name, value in (("$__rate_interval", "30s"), ("$instance", ".*"), ("$model", ".*")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def queries() -> dict[str, list[str]]:
    """By the title of the panel."""
    return {panel["title"]: [filled(target["expr"]) for target in panel["targets"]] for panel in panels()}


def asked_for_variables() -> list[str]:
    """The series whose labels are to be chosen from."""
    asked = [variable["query"] for variable in dashboard()["templating"]["list"] if variable["type"] == "query"]
    return [filled(re.fullmatch(r"label_values\((.+), \w+\)", each["query"])[1]) for each in asked]  # type: ignore[index]
