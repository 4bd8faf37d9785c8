"""AdminFace: models come and go by HTTP, for whoever knows the token."""

import hmac
import json
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from server.aliases import Target
from server.errors import Code, ServingError
from server.keeper import Keeper
from server.repository import Repository
from server.rest import schema
from server.rest.answers import aliases, described

_MOST_BYTES = 64 << 10


class AdminFace:
    """Routes under `/admin`, each behind `Authorization: Bearer <token>`."""

    def __init__(self, keeper: Keeper, repository: Repository, token: str) -> None:
        self._keeper = keeper
        self._repository = repository
        self._token = token.encode()
        self.router = APIRouter(prefix="/admin", dependencies=[Depends(self._demand_token)])
        self.router.add_api_route("/models/{name}/load", self.load, methods=["POST"], **schema.LOAD)
        self.router.add_api_route("/models/{name}/unload", self.unload, methods=["POST"], **schema.UNLOAD)
        self.router.add_api_route("/aliases/{alias}", self.point, methods=["PUT"], **schema.POINT)
        self.router.add_api_route("/aliases/{alias}", self.remove, methods=["DELETE"], **schema.REMOVE)

    async def load(self, name: str, version: str = "") -> Response:
        """Load a version, or the newest; again if it is loaded already."""
        return JSONResponse(described(await self._keeper.load(name, version)))

    async def unload(self, name: str, version: str = "") -> Response:
        """Take a version out, or all of the model; answers when their last request is answered."""
        return JSONResponse({"models": [described(entry) for entry in await self._keeper.unload(name, version)]})

    async def point(self, alias: str, request: Request) -> Response:
        """Let an alias stand for a version, from one moment to the next."""
        kept = await self._keeper.point(alias, await _target(request))
        return JSONResponse({"aliases": aliases(self._repository), "kept": kept})

    async def remove(self, alias: str) -> Response:
        """Remove an alias."""
        kept = await self._keeper.point(alias, None)
        return JSONResponse({"aliases": aliases(self._repository), "kept": kept})

    async def _demand_token(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise ServingError(Code.NO_KEY, "Send the admin token as 'Authorization: Bearer …'.")
        if not hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token):
            raise ServingError(Code.WRONG_KEY, "This is not the admin token.")


async def _target(request: Request) -> Target:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise ServingError(Code.TOO_LARGE, f"The body is too large: send at most {_MOST_BYTES} bytes.")
    try:
        data: dict[str, Any] = json.loads(body)
        model, version = data["model"], data.get("version")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise _not_a_target() from error
    if not isinstance(model, str) or not isinstance(version, str | None):
        raise _not_a_target()
    return Target(model, version or "")


def _not_a_target() -> ServingError:
    return ServingError(Code.MALFORMED, 'JSON must be {"model": "demo", "version": "1"}; without version: the newest.')
