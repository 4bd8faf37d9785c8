"""Responses: the answers and errors of a route in OpenAPI's terms, each with an example."""

from typing import Any

from pydantic import BaseModel

from server.errors import Code, ServingError
from server.rest.contract.classification import ProblemDocument
from server.rest.docs import examples
from server.rest.problems import STATUS, problem_document

_RETRY = frozenset({Code.QUEUE_FULL, Code.RATE_LIMITED, Code.NOT_READY, Code.DRAINING})
_BEFORE_A_ROUTE = (Code.MALFORMED, Code.SLOW_HEADERS, Code.HEADERS_TOO_LARGE, Code.QUEUE_FULL)
"""Errors of a connection or of a request's headers, on any route."""


def ref(model: type[BaseModel]) -> dict[str, str]:
    """The schema of a component."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def named(part: BaseModel) -> dict[str, Any]:
    """An example under the name of its model."""
    return {type(part).__name__: {"value": examples.shown(part)}}


def answers(*models: type[BaseModel]) -> dict[str, Any]:
    """The content of a response that is one of these."""
    shown = {name: value for model in models for name, value in named(examples.ANSWERS[model]).items()}
    return {"content": {"application/json": {"examples": shown}}}


def _problem(*codes: Code) -> dict[str, Any]:
    """A response with one of these errors."""
    shown = {code.value: {"value": _problem_example(code)} for code in codes}
    response: dict[str, Any] = {
        "description": ", ".join(f"`{code}`" for code in codes),
        "content": {"application/problem+json": {"schema": ref(ProblemDocument), "examples": shown}},
    }
    if _RETRY & set(codes):
        response["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 1}}}
    if Code.UNAUTHORIZED in codes:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}}
    return response


def _problem_example(code: Code) -> dict[str, Any]:
    return examples.shown(problem_document(ServingError(code, examples.DETAILS[code])))


def problems(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The responses for these errors, by status, and for those that any route may have."""
    by_status: dict[int, list[Code]] = {}
    for code in (*codes, Code.INTERNAL):
        by_status.setdefault(int(STATUS[code]), []).append(code)
    responses: dict[int | str, dict[str, Any]] = {
        status: _problem(*together) for status, together in sorted(by_status.items())
    }
    return {**responses, "default": _problem(*_BEFORE_A_ROUTE)}
