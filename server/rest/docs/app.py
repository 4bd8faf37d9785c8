"""DocumentedApp: a FastAPI application whose `/openapi.json` is complete, and which loads nothing from elsewhere."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from server.rest.docs.operations import COMPONENTS

OPEN = frozenset({"/", "/docs", "/livez", "/openapi.json", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""What needs no key, besides the files of the page."""

_DESCRIPTION = "Photos in, the most probable classes out. Images that arrive together share a batch."


class DocumentedApp(FastAPI):
    def __init__(self, version: str, root_path: str = "", need_key: bool = False) -> None:
        """`root_path`: what a proxy takes off; clients of the document put it before all paths. `need_key`: whether
        requests need an API key.
        """
        self._need_key = need_key
        super().__init__(
            servers=[{"url": root_path}] if root_path else None,
            title="Sesame",
            version=version,
            description=_DESCRIPTION,
            docs_url=None,  # FastAPI's pages load their scripts from another host
            redoc_url=None,
            generate_unique_id_function=lambda route: route.name,  # short names for the methods of generated clients
            redirect_slashes=False,  # a redirect would lead to wherever the Host header says
        )

    def openapi(self) -> dict[str, Any]:
        """The document, made once: FastAPI's, with the schemas of requests and errors that it does not know."""
        if self.openapi_schema is None:
            document = super().openapi()
            _, schemas = models_json_schema(
                [(model, "validation") for model in COMPONENTS], ref_template="#/components/schemas/{model}"
            )
            document["components"]["schemas"] |= schemas["$defs"]
            if self._need_key:
                _secure(document)
            self.openapi_schema = document
        return self.openapi_schema


def _secure(document: dict[str, Any]) -> None:
    """Say which operations need a key: all but those that tell whether the server works."""
    for path, methods in document["paths"].items():
        if path not in OPEN:
            for operation in methods.values():
                operation["security"] = [{"Bearer": []}]
