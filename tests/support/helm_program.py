"""Renders the chart with Helm's own library, and compares what comes with the JSON Schemas of Kubernetes.

`lint`: writes Helm's complaints about the chart, and about what it renders by default; ends with code 1 where there are
any. `render`: reads a JSON list of values from standard input, and writes for each of them what Helm made of it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import yaml
from helm_python import chart

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "sesame"
VERSIONS = ("1.27", "1.37")
"""Of Kubernetes: the oldest that the chart allows, and the newest whose schemas there are."""

OF_OTHERS = {"monitoring.coreos.com/v1", "keda.sh/v1alpha1", "gateway.networking.k8s.io/v1"}
"""Their schemas are not among those of Kubernetes."""


def rendered(opened: "chart.Chart", values: dict[str, Any]) -> dict[str, Any]:
    """`manifests` by kind and name, `notes`, and `complaints` of the schemas; or `refused`, with Helm's words."""
    try:
        opened.validate_schema(values)
        files = opened.render(values, name="sesame", namespace="serving")
    except helm_python.HelmError as error:
        return {"refused": str(error)}
    notes = next(text for name, text in files.items() if name.endswith("NOTES.txt"))
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    found = [document for text in texts for document in yaml.safe_load_all(text) if document]
    complaints = [complaint for each in found for complaint in _complaints(each)]
    by_name = {f"{each['kind']}/{each['metadata']['name']}": each for each in found}
    return {"manifests": by_name, "notes": notes, "complaints": complaints}


def _complaints(manifest: dict[str, Any]) -> list[str]:
    if manifest["apiVersion"] in OF_OTHERS:
        return []
    return [complaint for version in VERSIONS for complaint in _complaint(manifest, version)]


def _complaint(manifest: dict[str, Any], version: str) -> list[str]:
    """Unknown fields are complaints too (`strict`)."""
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(map(str, error.path))
        return [f"Kubernetes {version}, {manifest['kind']}, {path}: {error.message}"]
    return []


def _lint() -> list[str]:
    report = chart.lint(CHART, strict=True)
    said = [message["error"] for message in report["messages"] if message["severity"] > 1]
    with chart.Chart.load(CHART) as opened:
        default = rendered(opened, {})
    return [*report["errors"], *said, *default.get("complaints", [default.get("refused")])]


def main() -> int:
    if sys.argv[1] == "lint":
        complaints = _lint()
        print("\n".join(complaints))
        return 1 if complaints else 0
    with chart.Chart.load(CHART) as opened:
        print(json.dumps([rendered(opened, values) for values in json.load(sys.stdin)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
