"""AdminFace: load and unload models and set aliases over HTTP, for operators."""

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError

from server.errors import Code, ServingError
from server.keys.access import Access
from server.operators import Operations
from server.registry.catalogue import Catalogue
from server.registry.target import Share, Target
from server.rest.answers import JsonAnswer, aliases, model_description
from server.rest.contract.models import AliasList, ModelVersions
from server.rest.contract.requests import AliasRequest
from server.rest.docs import operations as docs
from server.rest.request_secret import secret_in

_BODY_BYTES = 64 << 10

_BEARER = HTTPBearer(auto_error=False, scheme_name="Bearer", description="An API key, or the admin token.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


class AdminFace:
    """Routes under `/admin`, each for operators only. They run on the event loop."""

    def __init__(self, deployer: Operations, catalogue: Catalogue, access: Access) -> None:
        self._deployer = deployer
        self._catalogue = catalogue
        self._access = access

    def add_routes(self, app: FastAPI) -> None:
        token = [Depends(self._check_operator)]
        app.add_api_route(
            "/admin/models/{name}/load", self.load_model, methods=["POST"], dependencies=token, **docs.LOAD
        )
        app.add_api_route(
            "/admin/models/{name}/unload", self.unload_model, methods=["POST"], dependencies=token, **docs.UNLOAD
        )
        app.add_api_route(
            "/admin/aliases/{alias}", self.set_alias, methods=["PUT"], dependencies=token, **docs.SET_ALIAS
        )
        app.add_api_route(
            "/admin/aliases/{alias}", self.remove_alias, methods=["DELETE"], dependencies=token, **docs.REMOVE_ALIAS
        )

    async def load_model(self, name: str, version: str = "") -> Response:
        """Loads a version, by default the newest, also if it is loaded already. Answers when it serves."""
        return JsonAnswer(model_description(await self._deployer.load(name, version)))

    async def unload_model(self, name: str, version: str = "") -> Response:
        """Unloads a version, by default all of the model. Answers when their last requests have been answered."""
        unloaded = await self._deployer.unload(name, version)
        return JsonAnswer(ModelVersions(models=[model_description(entry) for entry in unloaded]))

    async def set_alias(self, alias: str, request: Request) -> Response:
        """Makes an alias stand for versions, which are loaded first. All later requests get the new ones."""
        kept = await self._deployer.set_alias(alias, await _target(request))
        return self._aliases(kept)

    async def remove_alias(self, alias: str) -> Response:
        """Removes an alias."""
        return self._aliases(await self._deployer.set_alias(alias, None))

    def _aliases(self, kept: bool) -> Response:
        return JsonAnswer(AliasList(aliases=aliases(self._catalogue), kept=kept))

    async def _check_operator(self, request: Request, documented: Credentials) -> None:
        self._access.check_operator(secret_in(request.scope))


async def _target(request: Request) -> Target:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise ServingError(Code.TOO_LARGE, f"The body is too large: send at most {_BODY_BYTES} bytes.")
    try:
        wanted = AliasRequest.model_validate_json(body)
        shares = tuple(Share(share.version, share.weight) for share in wanted.versions or ())
        return Target(wanted.model, wanted.version or "", shares, wanted.shadow or "")
    except ValidationError as error:
        raise ServingError(
            Code.MALFORMED,
            'JSON must be {"model": "demo", "version": "1"}; without version: the newest. Versions of a model share '
            'callers so: {"model": "demo", "versions": [{"version": "1", "weight": 95}, …]}',
        ) from error
    except ValueError as error:
        raise ServingError(Code.MALFORMED, f"An alias cannot stand for that: {error}.") from error
