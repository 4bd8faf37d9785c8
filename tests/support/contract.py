"""A check of REST's answers against `/openapi.json`: whether a response is one that the document allows."""

import json
import re
import ssl
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import httpx

Document = dict[str, Any]

_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_NO_ROUTE = {404: "unknown_path", 405: "method_not_allowed"}


def violations(document: Document, response: httpx.Response) -> list[str]:
    """What the document does not allow of a response that has been read."""
    request = response.request
    operation = operation_of(document, request.method, request.url.path)
    if operation is None:
        return _no_operation(document, response)
    responses = operation["responses"]
    allowed = responses.get(str(response.status_code), responses["default"])
    kind = response.headers["content-type"].split(";")[0]
    if kind not in allowed["content"]:
        return [f"{response.status_code} as {kind}"]
    found = list(_headers(allowed, response))
    if not kind.endswith("json"):
        return found
    answer = response.json()
    if kind == "application/problem+json" and answer["code"] not in allowed["content"][kind]["examples"]:
        found.append(f"{answer['code']} with {response.status_code}")
    return found + list(invalid(document, allowed["content"][kind]["schema"], answer))


def operation_of(document: Document, method: str, path: str) -> dict[str, Any] | None:
    for template, methods in document["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            operation: dict[str, Any] | None = methods.get(method.lower())
            return operation
    return None


def _no_operation(document: Document, response: httpx.Response) -> list[str]:
    answer = response.json()
    if _NO_ROUTE.get(response.status_code) != answer.get("code"):
        return [f"{response.request.method} {response.request.url.path} is in no document"]
    return list(invalid(document, {"$ref": "#/components/schemas/ProblemDocument"}, answer))


def _headers(allowed: dict[str, Any], response: httpx.Response) -> Iterator[str]:
    """Headers of errors come with some of a status's codes, so they may be absent, but not be undocumented."""
    for name in ("retry-after", "www-authenticate"):
        if name in response.headers and name not in {known.lower() for known in allowed.get("headers", {})}:
            yield f"the header {name} with {response.status_code}"


def invalid(document: Document, schema: dict[str, Any], value: Any, at: str = "$") -> Iterator[str]:
    """Where a value differs from a JSON schema, of the keywords that the document uses. Unknown fields are wrong."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        if all(any(invalid(document, choice, value, at)) for choice in choices):
            yield f"{at} is none of its choices: {json.dumps(value)[:200]}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{at} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is none of {schema['enum']}"
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{at} is not of type {kind}"
    elif kind in _INNER:
        yield from _INNER[kind](document, schema, value, at)
    elif "minimum" in schema and value < schema["minimum"]:
        yield f"{at} is below {schema['minimum']}"


def _invalid_array(document: Document, schema: dict[str, Any], value: list[Any], at: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{at} is too short"
    for index, item in enumerate(value):
        yield from invalid(document, schema["items"], item, f"{at}[{index}]")


def _invalid_object(document: Document, schema: dict[str, Any], value: dict[str, Any], at: str) -> Iterator[str]:
    for name in set(schema.get("required", [])) - value.keys():
        yield f"{at}.{name} is not there"
    for name, inner in value.items():
        known = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if not known:
            yield f"{at}.{name} is not in the document"
        else:
            yield from invalid(document, known, inner, f"{at}.{name}")


_INNER: dict[str, Callable[[Document, dict[str, Any], Any, str], Iterator[str]]] = {
    "object": _invalid_object,
    "array": _invalid_array,
}


class ContractCheck:
    """An httpx response hook: fails the test whose server answers other than its document says.

    `routes` stands for the routes that a server has. The document of the first one with these routes is that of all.
    """

    _documents: ClassVar[dict[str, Document]] = {}

    def __init__(self, routes: str, verify: ssl.SSLContext | bool = False) -> None:
        """`verify`: as httpx takes it."""
        self._routes = routes
        self._verify = verify

    async def __call__(self, response: httpx.Response) -> None:
        url = response.request.url
        # the Open Inference Protocol has a document of its own, and the page's files are no API
        elsewhere = url.path.startswith("/v2") or (url.path.startswith("/page/") and response.status_code < 400)
        if elsewhere or response.request.method == "HEAD" or url.path in ("/", "/docs", "/openapi.json", "/metrics"):
            return
        await response.aread()
        found = violations(await self._document(url.copy_with(raw_path=b"/openapi.json")), response)
        assert not found, f"{response.request.method} {url}: {found}"

    async def _document(self, url: httpx.URL) -> Document:
        if self._routes not in self._documents:
            async with httpx.AsyncClient(verify=self._verify) as http:
                self._documents[self._routes] = (await http.get(url)).json()
        return self._documents[self._routes]
