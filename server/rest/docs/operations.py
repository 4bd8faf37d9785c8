"""Operations: what `/openapi.json` says of each route: its requests, its answers and its errors.

The values are keyword arguments of FastAPI's `add_api_route`. Handlers parse bodies and answer by themselves.
"""

from typing import Any

from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from server.errors import Code
from server.rest.contract import classification as c
from server.rest.contract import comparison as v
from server.rest.contract import explanation as e
from server.rest.contract import models as m
from server.rest.contract.requests import AliasRequest, PhotoInJson, PhotosInForm, PhotosInJson, RequestFields
from server.rest.docs import examples
from server.rest.docs.responses import answers, named, problems, ref

Operation = dict[str, Any]

COMPONENTS: tuple[type[BaseModel], ...] = (
    c.ProblemDocument,
    PhotoInJson,
    PhotosInJson,
    PhotosInForm,
    AliasRequest,
)
"""Models that operations refer to by `$ref`, besides those that FastAPI finds."""


def _operation(tag: str, summary: str, answer: type[BaseModel], *codes: Code, **more: Any) -> Operation:
    responses = {200: {"description": "The answer.", **answers(answer)}, **problems(*codes)}
    return {"tags": [tag], "summary": summary, "response_model": answer, "responses": responses, **more}


def _health(summary: str, no: BaseModel, status: int, meaning: str, *codes: Code) -> Operation:
    """An operation that answers `no` with a status of its own, in the words of the answer 200."""
    operation = _operation("health", summary, type(no), *codes)
    error = operation["responses"].get(status, {"content": {}})
    operation["responses"][status] = {
        "model": type(no),
        "description": "; ".join(filter(None, (meaning, error.get("description")))),
        "content": {**error["content"], "application/json": {"examples": named(no)}},
    }
    return operation


def _parameters(max_timeout_s: float) -> list[dict[str, Any]]:
    properties = RequestFields.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    query = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": field.description,
            "schema": properties[name]["anyOf"][0],  # without null
        }
        for name, field in RequestFields.model_fields.items()
    ]
    return [*query, _timeout_header(int(max_timeout_s * 1e3)), _CALLER]


_CALLER = {
    "name": "X-Caller-Id",
    "in": "header",
    "required": False,
    "description": "who asks, where versions of an alias share callers: any text, of which 128 characters count; by "
    "default the address",
    "schema": {"type": "string"},
}


def _timeout_header(most_ms: int) -> dict[str, Any]:
    return {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "required": False,
        "description": "time that the client waits for the answer, in milliseconds; by default the server's setting",
        "schema": {"type": "integer", "minimum": 1, "maximum": most_ms},
    }


def _photo_bodies() -> dict[str, Any]:
    several = {**named(examples.ONE_PHOTO), **named(examples.SEVERAL_PHOTOS)}
    return {
        **_one_photo_bodies(),
        "application/json": {"schema": {"oneOf": [ref(PhotoInJson), ref(PhotosInJson)]}, "examples": several},
    }


def _one_photo_bodies() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "image/*": binary,
        "application/octet-stream": binary,
        "multipart/form-data": {"schema": ref(PhotosInForm)},
        "application/json": {"schema": ref(PhotoInJson), "examples": named(examples.ONE_PHOTO)},
    }


_OF_A_KEY = (Code.UNAUTHORIZED, Code.FORBIDDEN)
"""Where the server has API keys: no key; one that may not do this."""

_OF_A_PHOTO = (
    Code.MALFORMED,
    *_OF_A_KEY,
    Code.UNKNOWN_MODEL,
    Code.SLOW_BODY,
    Code.TOO_LARGE,
    Code.UNSUPPORTED_TYPE,
    Code.BAD_IMAGE,
    Code.TOO_MANY_PIXELS,
    Code.ANIMATED,
    Code.DECODE_LIMIT,
    Code.QUEUE_FULL,
    Code.RATE_LIMITED,
    Code.ENGINE_FAILED,
    Code.NOT_READY,
    Code.DRAINING,
    Code.DEADLINE,
)


def classify(max_timeout_s: float) -> Operation:
    """`POST /classify`, where a request may set a deadline up to `max_timeout_s`."""
    operation = _operation("classification", "Classify photos", c.Classification, *_OF_A_PHOTO)
    operation["response_model"] = c.Classification | c.Classifications
    operation["responses"][200] = {
        "description": "The predictions. For a form and for JSON `images`: a list, in which each photo has its own "
        "predictions or error.",
        **answers(c.Classification, c.Classifications),
    }
    operation["openapi_extra"] = {
        "parameters": _parameters(max_timeout_s),
        "requestBody": {
            "required": True,
            "description": "One photo as it is, or the files of a form, or JSON.",
            "content": _photo_bodies(),
        },
    }
    return operation


def explain(max_timeout_s: float) -> Operation:
    """`POST /explain`."""
    codes = (*_OF_A_PHOTO, Code.NOT_EXPLAINABLE)
    operation = _operation("explanation", "Explain a prediction", e.ExplainedPhoto, *codes)
    operation["openapi_extra"] = {
        "parameters": [*_parameters(max_timeout_s), *_EXPLAIN_PARAMETERS],
        "requestBody": {
            "required": True,
            "description": "One photo as it is, or as the only file of a form, or JSON.",
            "content": _one_photo_bodies(),
        },
    }
    return operation


def _query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_EXPLAIN_PARAMETERS = [
    _query("class", "index of the class to explain; by default the most probable one", type="integer", minimum=0),
    _query("overlay", "true: also a PNG of the photo with the map over it", type="string", enum=["true", "false"]),
    _query("gates", "full: the gates of every channel, not only their statistics", type="string", const="full"),
]

MODELS = _operation("models", "All model versions", m.ModelList, Code.UNAUTHORIZED)
MODEL = _operation("models", "The versions of one model", m.ModelVersions, *_OF_A_KEY, Code.UNKNOWN_MODEL)
LABELS = _operation(
    "models",
    "The labels of a model",
    m.ModelLabelList,
    Code.MALFORMED,
    *_OF_A_KEY,
    Code.UNKNOWN_MODEL,
    Code.NOT_READY,
)
COMPARE = _operation("models", "Compare the versions of an alias", v.Comparison, Code.MALFORMED, Code.UNKNOWN_MODEL)
LIVE = _health("Liveness", m.Liveness(live=False), 500, "the process must be started again")
READY = _health("Readiness", examples.NOT_READY, 503, "the server loads, leaves, or no model answers")
MODEL_READY = _health(
    "Readiness of one model",
    examples.MODEL_NOT_READY,
    503,
    "the model loads, failed to load or was unloaded, its engine fails, or the server leaves",
    Code.MALFORMED,
    *_OF_A_KEY,
    Code.UNKNOWN_MODEL,
)
METRICS: Operation = {
    "tags": ["health"],
    "summary": "Prometheus metrics",
    "response_class": PlainTextResponse,
    "responses": problems(*_OF_A_KEY),
}

_ADMIN = (Code.MALFORMED, *_OF_A_KEY, Code.UNKNOWN_MODEL, Code.CONFLICT)
LOAD = _operation("admin", "Load or reload a model", m.ModelDescription, *_ADMIN)
UNLOAD = _operation("admin", "Unload a model", m.ModelVersions, *_ADMIN)
SET_ALIAS = _operation(
    "admin",
    "Set an alias",
    m.AliasList,
    *_ADMIN,
    Code.TOO_LARGE,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref(AliasRequest), "examples": named(examples.ALIAS)}},
        }
    },
)
REMOVE_ALIAS = _operation("admin", "Remove an alias", m.AliasList, *_ADMIN)
