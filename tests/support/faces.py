"""A running server, and one client for each face that answers in the same words."""

import asyncio
import dataclasses
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import httpx
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.choice import Choice
from server.engines.onnxruntime_cpu import OrtCpuEngine
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.pb.sesame.v1 import classifier_pb2_grpc as pb_grpc
from server.registry.registry import Registry
from server.settings import Settings
from server.startup.app import App
from server.startup.compose import compose
from tests.support import fast
from tests.support.certificates import TlsClient
from tests.support.contract import ContractCheck
from trt.gpus import Gpu


@dataclass(frozen=True)
class Outcome:
    """An answer in the words of neither face: the error's code, or the predictions as (index, id, label, p)."""

    code: str = ""
    detail: str = ""
    model: str = ""
    version: str = ""
    predictions: tuple[tuple[int, str, str, float], ...] = ()
    batch: int = 0

    @property
    def indexes(self) -> list[int]:
        return [index for index, *_ in self.predictions]


class Client(Protocol):
    """Calls one face."""

    async def classify(
        self,
        image: bytes,
        *,
        model: str = "",
        version: str = "",
        top_k: int | None = None,
        timeout_ms: int | None = None,
    ) -> Outcome: ...

    async def models(self) -> list[tuple[str, str, str]]: ...

    async def ready(self) -> bool: ...


class RestClient:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def classify(
        self,
        image: bytes,
        *,
        model: str = "",
        version: str = "",
        top_k: int | None = None,
        timeout_ms: int | None = None,
    ) -> Outcome:
        query = {"model": model, "version": version, "top_k": top_k}
        headers = {} if timeout_ms is None else {"X-Request-Timeout-Ms": str(timeout_ms)}
        params = {key: value for key, value in query.items() if value not in ("", None)}
        response = await self.http.post("/classify", content=image, params=params, headers=headers)
        return rest_outcome(response.json())

    async def models(self) -> list[tuple[str, str, str]]:
        data = (await self.http.get("/models")).json()
        return [(model["model"], model["version"], model["state"]) for model in data["models"]]

    async def ready(self) -> bool:
        return (await self.http.get("/readyz")).status_code == 200


def rest_outcome(data: dict[str, Any]) -> Outcome:
    data = data.get("error", data)
    if "code" in data:
        return Outcome(code=data["code"], detail=data["detail"])
    rows = tuple((row["index"], row["id"], row["label"], row["probability"]) for row in data["predictions"])
    return Outcome("", "", data["model"], data["version"], rows, data["batch"])


class RpcClient:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = pb_grpc.ImageClassifierStub(channel)  # type: ignore[no-untyped-call]
        self.health = health_pb2_grpc.HealthStub(channel)

    async def classify(
        self,
        image: bytes,
        *,
        model: str = "",
        version: str = "",
        top_k: int | None = None,
        timeout_ms: int | None = None,
    ) -> Outcome:
        request = pb.ClassifyRequest(image=image, model=model, version=version, top_k=top_k or 0)
        try:
            answer = await self.stub.Classify(request, timeout=None if timeout_ms is None else timeout_ms / 1e3)
        except grpc.aio.AioRpcError as error:
            return rpc_outcome(error)
        rows = tuple((row.index, row.id, row.label, row.probability) for row in answer.predictions)
        return Outcome("", "", answer.model, answer.version, rows, answer.timing.batch)

    async def models(self) -> list[tuple[str, str, str]]:
        answer = await self.stub.ListModels(pb.ListModelsRequest())
        return [(model.name, model.version, model.state) for model in answer.models]

    async def ready(self) -> bool:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service="sesame.v1.ImageClassifier"))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def rpc_outcome(error: grpc.aio.AioRpcError) -> Outcome:
    """gRPC clients end a call at its deadline themselves, before the server's own word arrives."""
    trailers = dict(error.trailing_metadata() or ())
    own = "deadline" if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else f"grpc:{error.code().name}"
    return Outcome(code=str(trailers.get("sesame-code", own)), detail=error.details() or "")


@dataclass
class Running:
    """A server on real ports in this event loop."""

    app: App
    http_port: int
    grpc_port: int
    task: "asyncio.Task[int]"
    rest: RestClient
    rpc: RpcClient

    @property
    def registry(self) -> Registry:
        """The models, which are in this process."""
        assert isinstance(self.app.parts.backend, Registry)
        return self.app.parts.backend

    def client(self, face: str) -> Client:
        clients: dict[str, Client] = {"rest": self.rest, "rpc": self.rpc}
        return clients[face]

    async def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric's samples, of those with the label."""
        text = (await self.rest.http.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name and label in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    async def until(self, name: str, value: float) -> None:
        """Wait for a metric to reach a value."""
        while await self.metric(name) != value:
            await asyncio.sleep(0)

    async def until_ready(self) -> None:
        while not await self.rest.ready():
            await asyncio.sleep(0.01)


def choose(bundle: Bundle) -> Choice:
    """ONNX Runtime on the fp32 graph, whatever else is installed here."""
    return Choice(OrtCpuEngine(bundle.graph("fp32")[1], threads=2), "a test's")


PATIENT = {"max_wait_ms": 600_000, "default_timeout_ms": 600_000, "max_timeout_ms": 600_000, "decode_limit_s": 600}
"""However slow the machine, what is sent at once is admitted, as far as the queue has places."""


REAL = (choose, None)
"""Choices of engines that compute the bundle's graph. An engine of a test's own may have any speed."""

_measured: dict[str, bytes] = {}
"""Files of the cache folder by name, as the last server with a real engine left them."""


@asynccontextmanager
async def running(
    bundles: Path | str,
    choose: Callable[[Bundle], Choice] | None = choose,
    wait: bool = True,
    gpus: int = 0,
    tls: TlsClient | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """Start a server on free ports and stop it at the end. It is patient if not told otherwise. `tls`: how the clients
    see a server with certificates.

    It is a second start as far as real engines on the CPU go: what others of this process measured is remembered.
    """
    fast.leave("starts a server")
    cache = tempfile.TemporaryDirectory()
    remembers = choose in REAL and not gpus
    for file, content in _measured.items() if remembers else ():
        (Path(cache.name) / file).write_bytes(content)
    defaults = Settings(model_repository=bundles, http_port=0, grpc_port=0, cache_dir=Path(cache.name))
    chosen = dataclasses.replace(defaults, **(PATIENT | settings))
    app = App(compose(chosen, choose, [Gpu(number, "a fake", "9.0", 132, "13.1") for number in range(gpus)]))
    ports: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(app.run(lambda http_port, grpc_port: ports.set_result((http_port, grpc_port))))
    http_port, grpc_port = await ports
    verify = tls.context() if tls else False
    may_operate = bool(chosen.admin_token or chosen.admin_token_file or chosen.keys)
    routes = f"admin: {may_operate}, explain: {chosen.explain}, admin port: {chosen.admin_port}"
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [ContractCheck(routes, verify)]}
    address = f"{'https' if tls else 'http'}://127.0.0.1:{http_port}"
    async with (
        httpx.AsyncClient(base_url=address, timeout=120, event_hooks=hooks, verify=verify) as http,
        tls.channel(grpc_port) if tls else grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        server = Running(app, http_port, grpc_port, task, RestClient(http), RpcClient(channel))
        try:
            if wait:
                await server.until_ready()
            yield server
        finally:
            app.leave()
            await task
            if remembers:
                _measured.update({path.name: path.read_bytes() for path in Path(cache.name).glob("*.json")})
            cache.cleanup()


class FakeEngine:
    """Answers each picture with a row that tells which picture it was: class = its first pixel's red, p = 0.9."""

    name = "fake"
    precision = "fp32"

    def __init__(self, classes: int, answer: Callable[[Pixels, Probabilities], Probabilities] | None = None) -> None:
        self.batches: list[int] = []
        self._classes = classes
        self._answer = answer or (lambda pixels, rows: rows)

    def run(self, pixels: Pixels) -> Probabilities:
        self.batches.append(len(pixels))
        rows = np.full((len(pixels), self._classes), 0.1 / (self._classes - 1), dtype=np.float32)
        rows[np.arange(len(pixels)), pixels[:, 0, 0, 0] % self._classes] = 0.9
        return self._answer(pixels, rows)


class KnowsProbe:
    """Passes the bundle's check, and answers everything else with its first row, in no time."""

    name = "knows-probe"
    precision = "fp32"

    def __init__(self, bundle: Bundle) -> None:
        probe = bundle.probe
        self._answers = {image.tobytes(): row for image, row in zip(probe.pixels, probe.probabilities, strict=True)}
        self._row = probe.probabilities[:1]

    def run(self, pixels: Pixels) -> Probabilities:
        return np.stack([self._answers.get(image.tobytes(), self._row[0]) for image in pixels])


class Held(KnowsProbe):
    """Once closed, works only as often as its gate lets it through."""

    name = "held"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.gate = threading.Semaphore(0)
        self.entered = threading.Event()
        self.failing = False
        self.closed = False

    def run(self, pixels: Pixels) -> Probabilities:
        if not self.closed:
            return super().run(pixels)
        self.entered.set()
        assert self.gate.acquire(timeout=20)
        if self.failing:
            raise OSError("/dev/secret broke")
        return np.repeat(self._row, len(pixels), axis=0)


@asynccontextmanager
async def held(demo: Path, **settings: Any) -> AsyncIterator[tuple[Running, Held]]:
    """A server on the demo bundle whose engine waits at its gate."""
    engines: list[Held] = []

    def choose_held(bundle: Bundle) -> Choice:
        engines.append(Held(bundle))
        return Choice(engines[0], "a test's")

    async with running(demo.parents[1], choose_held, **settings) as server:
        engines[0].closed = True
        try:
            yield server, engines[0]
        finally:
            engines[0].gate.release(1000)
