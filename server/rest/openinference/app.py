"""OpenInferenceApp: the routes under `/v2`."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import Request
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import Code, ServingError
from server.keys.key import Key
from server.openinference.open_inference import OpenInference
from server.openinference.regions import Region
from server.rest.envelope import exchange_of
from server.rest.error_handlers import ErrorHandlers
from server.rest.head import HeadAsGet
from server.rest.openinference.answers import JsonResponse
from server.rest.openinference.infer import InferRoute
from server.rest.request_secret import secret_in

PREFIX = "/v2"
_BODY_BYTES = 64 << 10
_MODEL = f"{PREFIX}/models/{{name}}"
_VERSION = f"{_MODEL}/versions/{{version}}"
_SYSTEM, _CUDA = f"{PREFIX}/systemsharedmemory", f"{PREFIX}/cudasharedmemory"

Handler = Callable[[Request], Awaitable[Response]]


class _Index(msgspec.Struct):
    ready: bool = False


class _Load(msgspec.Struct):
    parameters: dict[str, Any] = {}


class _Register(msgspec.Struct):
    key: str
    byte_size: int
    offset: int = 0


class OpenInferenceApp:
    """An ASGI application. Runs on the event loop."""

    def __init__(self, protocol: OpenInference, infer: InferRoute, errors: ErrorHandlers) -> None:
        self._protocol = protocol
        self._infer = infer
        app = Starlette(routes=self._routes())
        app.router.redirect_slashes = False  # a redirect would lead to wherever the Host header says
        errors.install(app)
        self._app: ASGIApp = HeadAsGet(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._infer if self._infer.takes(scope) else self._app)(scope, receive, send)

    def _routes(self) -> list[Route]:
        def get(path: str, handler: Handler) -> Route:
            return Route(path, handler, methods=["GET"])

        def post(path: str, handler: Handler) -> Route:
            return Route(path, handler, methods=["POST"])

        return [
            get(PREFIX, self._server),
            get(f"{PREFIX}/health/live", self._live),
            get(f"{PREFIX}/health/ready", self._ready),
            get(f"{PREFIX}/models/stats", self._statistics),
            *(get(path, self._model) for path in (_MODEL, _VERSION)),
            *(get(f"{path}/ready", self._model_ready) for path in (_MODEL, _VERSION)),
            *(get(f"{path}/config", self._config) for path in (_MODEL, _VERSION)),
            *(get(f"{path}/stats", self._statistics) for path in (_MODEL, _VERSION)),
            *(post(f"{path}/infer", _unreachable) for path in (_MODEL, _VERSION)),
            post(f"{PREFIX}/repository/index", self._index),
            post(f"{PREFIX}/repository/models/{{name}}/load", self._load),
            post(f"{PREFIX}/repository/models/{{name}}/unload", self._unload),
            *(get(f"{path}/status", self._regions) for path in (_SYSTEM, f"{_SYSTEM}/region/{{region}}")),
            post(f"{_SYSTEM}/region/{{region}}/register", self._register),
            *(post(f"{path}/unregister", self._unregister) for path in (_SYSTEM, f"{_SYSTEM}/region/{{region}}")),
            *(get(f"{path}/status", self._cuda_regions) for path in (_CUDA, f"{_CUDA}/region/{{region}}")),
            post(f"{_CUDA}/region/{{region}}/register", self._register_cuda),
            *(post(f"{path}/unregister", self._done) for path in (_CUDA, f"{_CUDA}/region/{{region}}")),
        ]

    async def _server(self, request: Request) -> Response:
        return JsonResponse(self._protocol.server_metadata())

    async def _live(self, request: Request) -> Response:
        return JsonResponse({"live": self._protocol.is_live}, 200 if self._protocol.is_live else 500)

    async def _ready(self, request: Request) -> Response:
        return JsonResponse({"ready": self._protocol.is_ready}, 200 if self._protocol.is_ready else 503)

    async def _model(self, request: Request) -> Response:
        return JsonResponse(self._protocol.model_metadata(*_model_of(request), _key_of(request)))

    async def _model_ready(self, request: Request) -> Response:
        name, version = _model_of(request)
        ready = self._protocol.is_model_ready(name, version, _key_of(request))
        return JsonResponse({"name": name, "ready": ready}, 200 if ready else 503)

    async def _config(self, request: Request) -> Response:
        return JsonResponse(self._protocol.model_config(*_model_of(request), _key_of(request)))

    async def _statistics(self, request: Request) -> Response:
        return JsonResponse(await self._protocol.statistics(*_model_of(request), _key_of(request)))

    async def _index(self, request: Request) -> Response:
        only_ready = (await _body(request, _Index)).ready
        return JsonResponse(self._protocol.repository_index(only_ready, _key_of(request)))

    async def _load(self, request: Request) -> Response:
        parameters = list((await _body(request, _Load)).parameters)
        await self._protocol.load(request.path_params["name"], parameters, secret_in(request.scope))
        return Response()

    async def _unload(self, request: Request) -> Response:
        await _body(request, _Load)  # what it may say, whether to unload dependent models, has no meaning here
        await self._protocol.unload(request.path_params["name"], secret_in(request.scope))
        return Response()

    async def _regions(self, request: Request) -> Response:
        return JsonResponse([_described(each) for each in self._protocol.region_status(_region_of(request))])

    async def _register(self, request: Request) -> Response:
        body = await _body(request, _Register)
        self._protocol.regions.register(_region_of(request), body.key, body.offset, body.byte_size)
        return Response()

    async def _unregister(self, request: Request) -> Response:
        self._protocol.regions.unregister(_region_of(request))
        return Response()

    async def _cuda_regions(self, request: Request) -> Response:
        self._protocol.cuda_region_status(_region_of(request))
        return JsonResponse([])

    async def _register_cuda(self, request: Request) -> Response:
        self._protocol.register_cuda_region()
        return Response()

    async def _done(self, request: Request) -> Response:
        return Response()


async def _unreachable(request: Request) -> Response:
    """The route is listed for its other methods: GET is then 405 and not 404."""
    raise AssertionError("InferRoute takes these requests. This is a bug.")


def _model_of(request: Request) -> tuple[str, str]:
    return request.path_params.get("name", ""), request.path_params.get("version", "")


def _key_of(request: Request) -> Key | None:
    return exchange_of(request.scope).key


def _region_of(request: Request) -> str:
    """Empty where all regions are meant."""
    return str(request.path_params.get("region", ""))


def _described(region: Region) -> dict[str, Any]:
    return {"name": region.name, "key": region.key, "offset": region.offset, "byte_size": region.size_bytes}


async def _body(request: Request, kind: type[Any]) -> Any:
    """The body as a `kind`; an empty one as what that is by default. Raises ServingError."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise ServingError(Code.TOO_LARGE, f"The body is too large: send at most {_BODY_BYTES} bytes.")
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ServingError(Code.MALFORMED, f"The JSON is not what this address takes: {str(error)[:200]}.") from None
