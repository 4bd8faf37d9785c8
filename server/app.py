"""App: puts the parts together and leads the process through its life; owns the signals."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from bundle.files import Bundle
from plans.gpus import Gpu, NoGpu, gpus
from plans.store import Store, resolved
from server import cores
from server.building import Building, commands
from server.decoders import Decoders
from server.device import Device
from server.engines.candidate import Kind
from server.engines.choice import Choice, Chooser, Machine
from server.engines.remembered import Remembered
from server.errors import Code, ServingError
from server.health import Health
from server.keeper import Keeper
from server.lifecycle import Lifecycle, Phase
from server.loader import Loader, Queues
from server.metrics import Metrics
from server.repository import Repository
from server.rest import AdminFace, RestFace
from server.rpc import RpcFace
from server.service import Classifier, Limits
from server.settings import Settings

log = logging.getLogger(__name__)

STOPPED, CUT_SHORT, LOAD_FAILED, HUNG = 0, 1, 3, 70
"""Exit codes: all accepted work was answered; some was not within the limit; a bundle failed at the start; an engine
did not answer any more."""

_DELIBERATE_S = 1.0
_BUILD_ENDS_IN_S = 4.0
_LAST_ANSWERS_S = 1.0  # to be written, once the work is done
"""A second signal counts only this long after the first: make and process groups deliver one twice."""


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process with the signal instead of exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class App:
    """The composed server. Raises BundleError where there is nothing to serve. Create it inside the event loop."""

    def __init__(
        self,
        settings: Settings,
        choose: Callable[[Bundle], Choice] | None = None,
        gpus: Sequence[Gpu] | None = None,
    ) -> None:
        """`choose` and `gpus`: instead of what the settings say and CUDA shows."""
        self._settings = settings
        gpus = _gpus(settings.engine) if gpus is None else gpus
        shares = cores.shares(settings.decode_threads, settings.engine_threads)
        metrics = self._metrics = Metrics(CollectorRegistry())
        self._lifecycle = Lifecycle()
        devices: dict[Kind, Device] = {"cpu": Device("cpu")}
        if gpus:
            devices["gpu"] = Device("gpu", len(gpus))
        decoders = Decoders(shares.decode, settings.max_pixels, settings.exact_pixels)
        queues = Queues(settings.queue_images, settings.max_wait_ms / 1e3, settings.max_batch, settings.remember_images)
        cache_dir = resolved(settings.cache_dir)
        machine = Machine(shares.engine, gpus, Store(cache_dir), settings.max_batch)
        chooser = Chooser(machine, settings.engine, settings.precision, Remembered(cache_dir / "choices.json"))
        loader = Loader(choose or chooser, devices, decoders, queues, metrics)
        self._repository = Repository(settings.bundles, settings.default_model, metrics)
        self._keeper = Keeper(self._repository, loader, settings.keep_versions)
        self._building = Building(
            self._repository,
            self._keeper,
            lambda engine: settings.build_plans and machine.could_have_plans(settings.engine, engine),
            machine.has_plans,
            commands([gpu.index for gpu in gpus], settings.max_batch, settings.precision, cache_dir),
        )
        limits = Limits(settings.max_image_bytes, settings.max_request_bytes, settings.max_images)
        classifier = Classifier(self._repository, decoders, self._lifecycle, limits)
        timeout_ms = settings.default_timeout_ms
        self._rpc = RpcFace(classifier, self._repository, metrics, timeout_ms)
        self._health = Health(
            self._lifecycle, self._repository, list(devices.values()), settings.engine_limit_s, self._rpc.set_ready
        )
        token = settings.admin_token
        admin = AdminFace(self._keeper, self._repository, token) if token else None
        rest = RestFace(classifier, self._repository, self._health, metrics, timeout_ms, version("sesame"), admin)
        self._http = _http_server(rest.app, settings.drain_limit_s)
        self._leaving = asyncio.Event()
        self._left_at_s: float | None = None

    async def run(self, on_listening: Callable[[int, int], None] = lambda http_port, grpc_port: None) -> int:
        """Serve until told to leave; returns the exit code. Raises OSError where a port is taken.

        `on_listening` is told the ports of HTTP and gRPC as soon as they are open, before any bundle is loaded.
        """
        host = self._settings.host
        listener = _listen(host, self._settings.http_port)
        http_port = listener.getsockname()[1]
        grpc_port = await self._rpc.start(host, self._settings.grpc_port)
        serving = asyncio.create_task(self._http.serve([listener]))
        log.info("listening http=http://%s:%d grpc=%s:%d", host, http_port, host, grpc_port)
        on_listening(http_port, grpc_port)
        code = await self._live()
        drained = await self._drain(serving)
        return code or drained

    async def _live(self) -> int:
        """Load, serve, and get ready to leave; returns why, as an exit code."""
        loading = asyncio.create_task(self._load())
        leaving = asyncio.create_task(self._leaving.wait())
        hanging = asyncio.create_task(self._health.watch())
        looking = asyncio.create_task(self._look(loading))
        building = asyncio.create_task(self._building.go_on(loading))
        try:
            await asyncio.wait((loading, leaving, hanging), return_when=asyncio.FIRST_COMPLETED)
            if loading.done() and not loading.result():
                return LOAD_FAILED
            await asyncio.wait((leaving, hanging), return_when=asyncio.FIRST_COMPLETED)
            if not hanging.done():
                await self._go_unready(hanging)
            if hanging.done():
                await self._give_up()
                return HUNG
            return STOPPED
        finally:
            for task in (loading, leaving, hanging, looking, building):
                task.cancel()
            await asyncio.wait((building,), timeout=_BUILD_ENDS_IN_S)

    def leave(self) -> bool:
        """Begin to leave; True when this was asked for before, and not just now."""
        now_s = asyncio.get_running_loop().time()
        if self._left_at_s is None:
            self._left_at_s = now_s
            self._leaving.set()
        return now_s - self._left_at_s >= _DELIBERATE_S

    async def _load(self) -> bool:
        """Load all bundles; whether the server may go on with what was loaded."""
        failed = await self._keeper.look()
        if failed and not self._settings.keep_going:
            log.error("stopping: a bundle failed to load; mend or remove it, or serve the others with --keep-going")
            return False
        if self._lifecycle.phase is Phase.STARTING:
            self._lifecycle.advance(Phase.SERVING)
            await self._health.tell()
            log.info("ready")
        return True

    async def _look(self, loading: "asyncio.Task[bool]") -> None:
        """By setting, see what becomes of the folder of bundles."""
        await asyncio.wait((loading,))
        while self._settings.watch_s:
            await asyncio.sleep(self._settings.watch_s)
            try:
                await self._keeper.look()
            except OSError as error:
                log.warning("the folder of bundles cannot be read (%s): trying again", error.strerror)

    async def _give_up(self) -> None:
        """An engine hangs: its callers are told, what else was accepted ends, and the process shall be started anew."""
        what = "is lost to this process" if any(device.lost for device in self._health.hanging()) else "hangs"
        log.critical("an engine %s (a batch may take %d s); leaving", what, self._settings.engine_limit_s)
        self._lifecycle.broken = True
        for device in self._health.hanging():
            device.give_up(ServingError(Code.ENGINE_FAILED, "The engine does not answer: send the request again."))
        await self._health.tell()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._keeper.idle(), self._settings.drain_limit_s)

    async def _go_unready(self, hanging: "asyncio.Task[None]") -> None:
        """Be seen to leave while still taking work, until load balancers have noticed or an engine hangs."""
        self._lifecycle.advance(Phase.LEAVING)
        await self._health.tell()
        log.info("leaving: not ready, taking work for another %d s", self._settings.drain_delay_s)
        await asyncio.wait((hanging,), timeout=self._settings.drain_delay_s)

    async def _drain(self, serving: "asyncio.Task[None]") -> int:
        """Take nothing new, let accepted work end. Returns CUT_SHORT where it did not within the limit."""
        self._lifecycle.advance(Phase.DRAINING)
        self._http.should_exit = True
        limit_s = self._settings.drain_limit_s
        _, waited = await asyncio.gather(self._stop_rpc(limit_s), asyncio.wait((serving,), timeout=limit_s + 1))
        cut_short = bool(waited[1]) or self._keeper.unanswered() > 0
        totals = " ".join(f"{name}={count}" for name, count in self._metrics.totals().items())
        log.info("stopped%s images %s", ": some accepted work was cut short" if cut_short else "", totals)
        return CUT_SHORT if cut_short else STOPPED

    async def _stop_rpc(self, limit_s: float) -> None:
        """Calls that watch (health, reflection) never end by themselves: they are waited for as long as work is."""
        stopping = asyncio.create_task(self._rpc.stop(limit_s))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._keeper.idle(), limit_s)
            await self._rpc.stop(min(limit_s, _LAST_ANSWERS_S))
        await stopping


def _gpus(engine: str) -> Sequence[Gpu]:
    """None where the operator wants an engine on the CPU: CUDA is then left alone."""
    if engine.endswith("-cpu"):
        return []
    try:
        return gpus()
    except NoGpu as reason:
        log.debug("no GPU: %s", reason)  # the doctor tells, where there is a driver
        return []


def handle_signals(app: App) -> None:
    """SIGTERM and SIGINT let the app leave in order; a second one, later, at once."""

    def signalled(number: int) -> None:
        if app.leave():
            log.warning("a second signal: leaving at once")
            leave_now(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled, number)


def leave_now(code: int) -> None:
    """End the process without waiting for threads that cannot be stopped."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _http_server(app: ASGIApp, drain_limit_s: int) -> _HttpServer:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than proxies keep theirs, or they would send into a closing connection
        timeout_graceful_shutdown=drain_limit_s,
    )
    return _HttpServer(config)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; uvicorn's own would end the process where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"HTTP cannot listen on {host}:{port} ({error.strerror})") from error
