"""Explanations: the answer to `POST /explain` as JSON, and what its query asks for."""

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from explain.explanation import ClassMap, Excitation, Wanted
from server.errors import Code, ServingError
from server.explaining.explainer import NO_MAP, Explained
from server.rest.answers import photo_part, prediction_part

_MOST_DIGITS = 9


def wanted(query: Mapping[str, str]) -> Wanted:
    """Raises ServingError MALFORMED."""
    return Wanted(class_index=_class_index(query.get("class", "")), overlay=_overlay(query), gates=_gates(query))


class ExplanationAnswer(Response):
    """It may have tens of thousands of gates, so its JSON is written without making the contract's models first."""

    media_type = "application/json"

    def __init__(self, explained: Explained) -> None:
        super().__init__(to_json(_explained_photo(explained)))


def _explained_photo(explained: Explained) -> dict[str, Any]:
    explanation = explained.explanation
    png = explanation.overlay_png
    return {
        **photo_part(explained.classified, explained.answer),
        "class": prediction_part(explanation.explained),
        **({"map": _map(explanation.map)} if explanation.map else {"map_missing": NO_MAP}),
        **({"overlay_png": base64.b64encode(png).decode()} if png else {}),
        "excitations": [_excitation(block) for block in explanation.excitations],
        "explain_ms": round(explained.explain_ms, 3),
    }


def _map(of: ClassMap) -> dict[str, Any]:
    region = dataclasses.asdict(of.region)
    return {"rows": len(of.values), "columns": len(of.values[0]), "values": of.values, "region": region}


def _excitation(block: Excitation) -> dict[str, Any]:
    fields = {field.name: getattr(block, field.name) for field in dataclasses.fields(block)}
    return {name: value for name, value in fields.items() if value is not None}


def _class_index(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise ServingError(Code.MALFORMED, "class must be the index of a class, a whole number.")
    return int(text)


def _overlay(query: Mapping[str, str]) -> bool:
    text = query.get("overlay", "false")
    if text not in ("true", "false"):
        raise ServingError(Code.MALFORMED, "overlay must be true or false.")
    return text == "true"


def _gates(query: Mapping[str, str]) -> bool:
    text = query.get("gates", "")
    if text not in ("", "full"):
        raise ServingError(Code.MALFORMED, "gates can only be full.")
    return text == "full"
