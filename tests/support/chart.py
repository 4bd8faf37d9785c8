"""Chart: what Helm makes of values."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support import environments

Values = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """`manifests` by kind and name. `complaints`: of Kubernetes' schemas. `refused`: Helm's error, and then no rest."""

    manifests: dict[str, dict[str, Any]]
    notes: str
    complaints: list[str]
    refused: str

    def spec(self, kind: str, name: str = "sesame") -> dict[str, Any]:
        """Of the manifest of that kind and name."""
        found: dict[str, Any] = self.manifests[f"{kind}/{name}"]["spec"]
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """The specification of the Deployment's pods."""
        found: dict[str, Any] = self.spec("Deployment")["template"]["spec"]
        return found

    @property
    def container(self) -> dict[str, Any]:
        """The server's."""
        found: dict[str, Any] = self.pod["containers"][0]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """The server's variables that have a value; those from Secrets are left out."""
        return {each["name"]: each["value"] for each in self.container["env"] if "value" in each}


def rendered(*values: Values) -> list[Rendered]:
    """The chart with each of these values. Skips the test where Helm's library is not installed."""
    text = environments.run("helm", "-m", "tests.support.helm_program", "render", stdin=json.dumps(values))
    empty: dict[str, Any] = {"manifests": {}, "notes": "", "complaints": [], "refused": ""}
    return [Rendered(**{**empty, **found}) for found in json.loads(text)]


def one(values: Values) -> Rendered:
    """The chart with these values, which are accepted."""
    (found,) = rendered(values)
    assert not found.refused
    return found
