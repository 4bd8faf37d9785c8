"""Part: what all parts of an answer share."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict


def not_always(description: str) -> Any:
    """A field that some answers lack. Its type is `… | SkipJsonSchema[None]`: the field is absent, never null."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)


class Part(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
