"""App: puts the parts together and leads the process through its life; owns the signals."""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from bundle.files import Bundle
from plans.gpus import Gpu, NoGpu, gpus
from plans.store import Store, resolved
from server import cores, process
from server.building import Building, commands
from server.decoders import Decoders
from server.device import Device
from server.engines.candidate import Kind
from server.engines.choice import Choice, Chooser, Machine
from server.engines.remembered import Remembered
from server.engines.timings import Timings
from server.errors import Code, ServingError
from server.health import Health
from server.keeper import Keeper
from server.lifecycle import Lifecycle, Phase
from server.loader import Loader, Queues
from server.metrics import Metrics
from server.receiving import ReceiveBudget
from server.repository import Repository
from server.rest import AdminFace, RestFace
from server.rest.connections import Connections
from server.rest.protocol import factory
from server.rpc import RpcFace
from server.service import Classifier, Limits
from server.settings import Settings
from server.threads import Threads

log = logging.getLogger(__name__)

STOPPED, CUT_SHORT, LOAD_FAILED, HUNG = 0, 1, 3, 70
"""Exit codes: all accepted work was answered; some was not within the limit; a model has no version that loads, or
the folder of bundles cannot be read; an engine did not answer any more."""

_DELIBERATE_S = 1.0
"""A second signal counts only this long after the first: make and process groups deliver one twice."""

_BUILD_ENDS_IN_S = 4.0
_LAST_ANSWERS_S = 1.0  # to be written, once the work is done
_TIDY_EVERY_S = 1.0


class CannotListen(Exception):
    """The address cannot be used, or a port is taken; the message says the cure."""


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
        aside = self._aside = Threads(1, "aside")
        decoders = self._decoders = Decoders(
            shares.decode,
            self._aside,
            settings.max_image_bytes,
            settings.max_pixels,
            settings.exact_pixels,
            settings.decode_limit_s,
        )
        queues = Queues(settings.queue_images, settings.max_wait_ms / 1e3, settings.max_batch, settings.remember_images)
        cache_dir = resolved(settings.cache_dir)
        machine = Machine(shares.engine, gpus, Store(cache_dir), settings.max_batch)
        chooser = Chooser(machine, settings.engine, settings.precision, Remembered(cache_dir / "choices.json"))
        timings = Timings(Remembered(cache_dir / "batches.json"), shares.engine, tuple(gpu.name for gpu in gpus))
        loader = Loader(choose or chooser, devices, decoders, queues, metrics, timings.measure)
        self._repository = Repository(settings.bundles, settings.default_model, metrics)
        self._keeper = Keeper(self._repository, loader, settings.keep_versions)
        self._building = Building(
            self._repository,
            self._keeper,
            lambda engine: settings.build_plans and machine.could_have_plans(settings.engine, engine),
            machine.has_plans,
            commands(gpus, settings.max_batch, settings.precision, cache_dir),
        )
        limits = Limits(
            settings.max_image_bytes,
            settings.max_request_bytes,
            settings.max_images,
            settings.default_timeout_ms / 1e3,
            settings.max_timeout_ms / 1e3,
        )
        classifier = Classifier(self._repository, decoders, self._lifecycle, limits)
        budget = ReceiveBudget(settings.receive_bytes)
        metrics.receiving_bytes.set_function(lambda: budget.taken)
        metrics.decode_queue_images.set_function(decoders.waits)
        metrics.decode_threads_lost.set_function(lambda: decoders.lost)
        self._connections = Connections(
            settings.max_connections, lambda code: metrics.requests.labels("rest", code).inc()
        )
        self._rpc = RpcFace(classifier, self._repository, metrics, budget, aside, settings.max_connections)
        self._health = Health(
            self._lifecycle,
            self._repository,
            list(devices.values()),
            decoders,
            settings.engine_limit_s,
            self._rpc.set_ready,
            metrics.decodes_given_up.inc,
            settings.strict_readiness,
        )
        token = settings.admin_token
        admin = AdminFace(self._keeper, self._repository, token) if token else None
        self._rest = RestFace(
            classifier, self._repository, self._health, metrics, budget, aside, version("sesame"), admin
        )
        self._http = _http_server(self._rest.app, self._connections, settings.drain_limit_s)
        self._leaving = asyncio.Event()
        self._left_at_s: float | None = None

    async def run(self, on_listening: Callable[[int, int], None] = lambda http_port, grpc_port: None) -> int:
        """Serve until told to leave; returns the exit code. Raises CannotListen.

        `on_listening` is told the ports of HTTP and gRPC as soon as they are open, before any bundle is loaded.
        """
        host = self._settings.host
        listener = _listen(host, self._settings.http_port)
        http_port = listener.getsockname()[1]
        try:
            grpc_port = await self._rpc.start(host, self._settings.grpc_port)
        except OSError as error:
            raise CannotListen(f"{error}: choose another port with --grpc-port") from error
        serving = asyncio.create_task(self._http.serve([listener]))
        told = f"[{host}]" if ":" in host else host
        log.info("listening http=http://%s:%d grpc=%s:%d", told, http_port, told, grpc_port)
        on_listening(http_port, grpc_port)
        code = await self._live()
        drained = await self._drain(serving)
        self._decoders.close()
        self._aside.close()
        return code or drained

    async def _live(self) -> int:
        """Load, serve, and get ready to leave; returns why, as an exit code."""
        loading = asyncio.create_task(self._load())
        leaving = asyncio.create_task(self._leaving.wait())
        hanging = asyncio.create_task(self._health.watch())
        looking = asyncio.create_task(self._look(loading))
        building = asyncio.create_task(self._building.go_on(loading))
        tidying = asyncio.create_task(self._tidy())
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
            for task in (loading, leaving, hanging, looking, building, tidying):
                task.cancel()
            await asyncio.wait((building,), timeout=_BUILD_ENDS_IN_S)

    def watch_log(self, dropped: Callable[[], float]) -> None:
        """Show in the metrics how many lines of the log were dropped."""
        self._metrics.log_lines_dropped.set_function(dropped)

    def leave(self) -> bool:
        """Begin to leave; True when this was asked for before, and not just now."""
        now_s = asyncio.get_running_loop().time()
        if self._left_at_s is None:
            self._left_at_s = now_s
            self._leaving.set()
        return now_s - self._left_at_s >= _DELIBERATE_S

    async def _load(self) -> bool:
        """Load all bundles; whether the server may go on with what was loaded."""
        await self._keeper.look()
        failed = self._repository.unserved() or ([] if self._repository.names() else ["any model"])
        if failed and not self._settings.keep_going:
            log.error(
                "stopping: no version of %s could be loaded; mend or remove it, or serve the others with --keep-going",
                ", ".join(failed),
            )
            return False
        if self._lifecycle.phase is Phase.STARTING:
            self._lifecycle.advance(Phase.SERVING)
            await self._health.tell()
            process.expect_to_stay()
            log.info("ready")
        return True

    async def _look(self, loading: "asyncio.Task[bool]") -> None:
        """By setting, see what becomes of the folder of bundles."""
        await asyncio.wait((loading,))
        while self._settings.watch_s:
            await asyncio.sleep(self._settings.watch_s)
            await self._keeper.look()

    async def _tidy(self) -> None:
        """Give memory back after a flood of requests."""
        trimmer = process.Trimmer()
        while True:
            await asyncio.sleep(_TIDY_EVERY_S)
            await self._aside.run(trimmer.look)

    async def _give_up(self) -> None:
        """An engine hangs: its callers are told, what else was accepted ends, and the process shall be started anew."""
        log.critical("%s; leaving", self._health.complaint())
        self._lifecycle.broken = True
        for device in self._health.hanging():
            device.give_up(ServingError(Code.ENGINE_FAILED, "The engine does not answer: send the request again."))
        await self._health.tell()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._keeper.idle(), self._settings.drain_limit_s)

    async def _go_unready(self, hanging: "asyncio.Task[None]") -> None:
        """Be seen to leave while still taking work, until load balancers have noticed or an engine hangs."""
        self._lifecycle.advance(Phase.LEAVING)
        self._connections.leave()
        await self._health.tell()
        log.info("leaving: not ready, taking work for another %d s", self._settings.drain_delay_s)
        await asyncio.wait((hanging,), timeout=self._settings.drain_delay_s)

    async def _drain(self, serving: "asyncio.Task[None]") -> int:
        """Take nothing new, let accepted work end. Returns CUT_SHORT where it did not within the limit."""
        self._lifecycle.advance(Phase.DRAINING)
        self._http.should_exit = True
        self._rest.end_receiving()
        limit_s = self._settings.drain_limit_s
        await asyncio.gather(self._stop_rpc(limit_s), self._stop_http(serving, limit_s))
        cut_short = self._keeper.unanswered() > 0
        totals = " ".join(f"{name}={count}" for name, count in self._metrics.totals().items())
        log.info("stopped%s images %s", ": some accepted work was cut short" if cut_short else "", totals)
        return CUT_SHORT if cut_short else STOPPED

    async def _stop_http(self, serving: "asyncio.Task[None]", limit_s: float) -> None:
        """Connections that do not read their answers never end by themselves: they are cut when the work is done."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._keeper.idle(), limit_s)
        await asyncio.wait((serving,), timeout=_LAST_ANSWERS_S)
        self._http.force_exit = True

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


def handle_signals(app: App, end_process: Callable[[int], object]) -> None:
    """SIGTERM, SIGINT and SIGHUP (the terminal is gone) let the app leave in order; a second one, later, at once."""

    def signalled(number: int) -> None:
        if app.leave():
            log.warning("a second signal: leaving at once")
            end_process(128 + number)

    hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []  # nohup ignores it
    for number in (signal.SIGTERM, signal.SIGINT, *hang_up):
        asyncio.get_running_loop().add_signal_handler(number, signalled, number)


def _http_server(app: ASGIApp, connections: Connections, drain_limit_s: int) -> _HttpServer:
    config = uvicorn.Config(
        app,
        http=factory(connections),
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
    """A bound socket; uvicorn's own would end the process where the port is taken. On `::` IPv4 is heard too."""
    told = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        families = {found[0] for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except socket.gaierror as error:
        raise CannotListen(f"The address {host} is not known ({error.strerror}): choose another --host") from error
    except OSError as error:
        cure = "another port with --http-port" if error.errno == errno.EADDRINUSE else "another --host or --http-port"
        raise CannotListen(f"HTTP cannot listen on {told} ({error.strerror}): choose {cure}") from error
