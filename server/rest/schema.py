"""Schema: what `/openapi.json` says of each route, with real examples. The handlers parse bodies themselves."""

from typing import Any

DESCRIPTION = "Photos in, the most probable classes out. Images that arrive together share a batch."

_PREDICTION = {
    "type": "object",
    "required": ["index", "id", "label", "probability"],
    "properties": {
        "index": {"type": "integer", "description": "of the network's outputs"},
        "id": {"type": "string", "description": "WordNet id, Places name"},
        "label": {"type": "string"},
        "probability": {"type": "number"},
    },
}
_GROUP = {
    "type": "object",
    "description": "what most of the ten most probable classes are, e.g. indoor; only where the labels have groups",
    "required": ["name", "votes", "of"],
    "properties": {"name": {"type": "string"}, "votes": {"type": "integer"}, "of": {"type": "integer"}},
}
_TIMING = {
    "type": "object",
    "description": "milliseconds; queue: pixels ready to dispatch, infer: the whole batch",
    "properties": {stage: {"type": "number"} for stage in ("decode", "queue", "infer", "total")},
}
_ANSWER = {
    "type": "object",
    "required": ["model", "version", "predictions", "timing_ms", "batch"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "predictions": {"type": "array", "items": _PREDICTION},
        "group": _GROUP,
        "timing_ms": _TIMING,
        "batch": {"type": "integer", "description": "images in its batch"},
    },
    "example": {
        "model": "demo",
        "version": "1",
        "predictions": [
            {"index": 0, "id": "n01443537", "label": "goldfish", "probability": 0.9309},
            {"index": 188, "id": "n07873807", "label": "pizza", "probability": 0.0049},
        ],
        "timing_ms": {"decode": 1.94, "queue": 0.05, "infer": 2.31, "total": 4.61},
        "batch": 1,
    },
}
_FAULT = {
    "status": {"type": "integer"},
    "code": {"type": "string"},
    "detail": {"type": "string"},
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {"type": {"type": "string"}, "title": {"type": "string"}, **_FAULT},
    "example": {
        "type": "about:blank",
        "title": "Unsupported Media Type",
        "status": 415,
        "code": "unsupported_type",
        "detail": "GIF is not an accepted image type: send JPEG, PNG or WebP.",
    },
}
_ITEM_ERROR = {"type": "object", "properties": {"error": {"type": "object", "properties": _FAULT}}}
_MANY = {
    "type": "object",
    "required": ["results"],
    "properties": {"results": {"type": "array", "items": {"oneOf": [_ANSWER, _ITEM_ERROR]}}},
}
_JSON_BODY = {
    "type": "object",
    "properties": {
        "image": {"type": "string", "format": "byte", "description": "one photo in base64; or:"},
        "images": {"type": "array", "items": {"type": "string", "format": "byte"}},
        "model": {"type": ["string", "null"]},
        "version": {"type": ["string", "null"]},
        "top_k": {"type": ["integer", "null"]},
        "priority": {"type": ["string", "null"], "enum": ["interactive", "bulk", None]},
    },
}
_FILES = {
    "type": "object",
    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _problem(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "content": {"application/problem+json": {"schema": _PROBLEM}}}


def _query(name: str, kind: str, meaning: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": meaning, "schema": {"type": kind}}


CLASSIFY: dict[str, Any] = {
    "summary": "Classify photos",
    "openapi_extra": {
        "parameters": [
            _query("top_k", "integer", "how many classes; 5 where not given"),
            _query("model", "string", "a model or an alias; the default, or the only one, where not given"),
            _query("version", "string", "the highest that is ready where not given"),
            _query("priority", "string", "interactive, or bulk for work that may wait; interactive where not given"),
            {
                "name": "X-Request-Timeout-Ms",
                "in": "header",
                "required": False,
                "schema": {"type": "integer", "minimum": 1, "maximum": 60000},
            },
        ],
        "requestBody": {
            "required": True,
            "description": "One photo as it is, files of a form, or JSON. JPEG, PNG or WebP; the bytes decide.",
            "content": {
                "image/jpeg": _BINARY,
                "application/octet-stream": _BINARY,
                "multipart/form-data": {"schema": _FILES},
                "application/json": {"schema": _JSON_BODY},
            },
        },
    },
    "responses": {
        200: {
            "description": "The predictions; a list for multipart and for JSON `images`, each with its own outcome.",
            "content": _json({"oneOf": [_ANSWER, _MANY]}),
        },
        400: _problem("`malformed`"),
        404: _problem("`unknown_model`"),
        408: _problem("`slow_body`"),
        413: _problem("`too_large`"),
        415: _problem("`unsupported_type`"),
        422: _problem("`bad_image`, `too_many_pixels`, `animated`, `decode_limit`"),
        429: _problem("`queue_full`, with Retry-After"),
        500: _problem("`engine_failed`, `internal`"),
        503: _problem("`not_ready`, `draining`, with Retry-After"),
        504: _problem("`deadline`"),
    },
}
MODELS: dict[str, Any] = {"summary": "All model versions"}
MODEL: dict[str, Any] = {"summary": "The versions of one model", "responses": {404: _problem("`unknown_model`")}}
LABELS: dict[str, Any] = {"summary": "The labels of a model", "responses": {404: _problem("`unknown_model`")}}
LIVE: dict[str, Any] = {"summary": "Liveness", "responses": {500: {"description": "only a new process helps"}}}
READY: dict[str, Any] = {
    "summary": "Readiness",
    "responses": {503: {"description": "loading, leaving, or no model answers"}},
}
MODEL_READY: dict[str, Any] = {
    "summary": "Readiness of one model",
    "responses": {
        400: _problem("`malformed`"),
        404: _problem("`unknown_model`"),
        503: {"description": "the model loads, failed to load or was unloaded, its engine fails, or the server leaves"},
    },
}
METRICS: dict[str, Any] = {"summary": "Prometheus metrics"}

_KEYS = {401: _problem("`no_key`"), 403: _problem("`wrong_key`")}
_CHANGES = {**_KEYS, 404: _problem("`unknown_model`"), 409: _problem("`conflict`")}

LOAD: dict[str, Any] = {"summary": "Load or reload a model", "tags": ["admin"], "responses": _CHANGES}
UNLOAD: dict[str, Any] = {"summary": "Take a model out", "tags": ["admin"], "responses": _CHANGES}
POINT: dict[str, Any] = {
    "summary": "Set an alias",
    "tags": ["admin"],
    "responses": {**_CHANGES, 400: _problem("`malformed`")},
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": _json(
                {
                    "type": "object",
                    "required": ["model"],
                    "properties": {"model": {"type": "string"}, "version": {"type": ["string", "null"]}},
                    "example": {"model": "demo", "version": "1"},
                }
            ),
        }
    },
}
REMOVE: dict[str, Any] = {"summary": "Remove an alias", "tags": ["admin"], "responses": _CHANGES}
