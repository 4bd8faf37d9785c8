"""`python -m tests.deploy.settings_schema`: writes the server's settings into the schema of the chart's values."""

import dataclasses
import json
from typing import Any

from server.settings import _CHOICES, Settings
from tests.conftest import REPOSITORY

SCHEMA = REPOSITORY / "deploy" / "helm" / "sesame" / "values.schema.json"

OF_THE_CHART = {"host", "http_port", "grpc_port", "model_repository", "cache_dir", "admin_token"}
"""Settings that the chart's templates make; among its values' `settings` they are refused."""


def settings_schema() -> dict[str, Any]:
    """JSON Schema of the value `settings`: every setting that is left to the user, with its type and range."""
    fields = [field for field in dataclasses.fields(Settings) if field.name not in OF_THE_CHART]
    properties = {field.name: _of_field(field) for field in fields}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of all values, with the settings of this version of the server."""
    return {**schema, "definitions": {"settings": settings_schema()}}


def _of_field(field: "dataclasses.Field[Any]") -> dict[str, Any]:
    if field.type is bool:
        return {"type": "boolean"}
    if field.name in _CHOICES:
        return {"enum": list(_CHOICES[field.name])}
    word = field.metadata["word"]
    kind = "number" if field.type is float else "integer" if field.type is int or word else "string"
    bounds = {"minimum": field.metadata["least"], "maximum": field.metadata["most"]}
    number = {"type": kind, **{name: bound for name, bound in bounds.items() if bound is not None}}
    return {"anyOf": [{"const": word}, number]} if word else number


if __name__ == "__main__":
    text = json.dumps(with_settings(json.loads(SCHEMA.read_text(encoding="utf-8"))), indent=2)
    SCHEMA.write_text(text + "\n", encoding="utf-8")
