"""App: leads the process through its life: listen, load, serve, leave, drain; owns the signals and the exit codes."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable

from server.host import process
from server.host.exit_codes import CUT_SHORT, HUNG, LOAD_FAILED, STOPPED
from server.host.listening import CannotListen
from server.lifecycle import Phase
from server.startup.compose import Parts
from server.startup.http_server import HttpServers
from server.startup.listeners import Listeners

log = logging.getLogger(__name__)

_DELIBERATE_S = 1.0
"""A second signal within this time of the first does not count: make and process groups deliver each one twice."""

_BACKEND_ENDS_IN_S = 5.0  # a build of plans that is under way
_LOOK_EVERY_S = 0.5
_LAST_ANSWERS_S = 1.0  # for answers to be written, once the work is done
_TRIM_EVERY_S = 1.0


class App:
    """Runs the composed parts. All of it runs on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._settings = parts.settings
        self._http = HttpServers(
            parts.rest.app,
            parts.connections,
            parts.rest.admin_app,
            parts.certificates,
            parts.metrics.face("rest").ended,
            parts.settings.drain_limit_s,
        )
        self.listeners: Listeners | None = None
        self._leaving = asyncio.Event()
        self._left_at_s: float | None = None
        self._on_ready: Callable[[], None] = lambda: None

    async def run(
        self,
        on_listening: Callable[[int, int], None] = lambda http_port, grpc_port: None,
        listeners: Listeners | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> int:
        """Serve until `leave` is called; returns the exit code. Raises CannotListen.

        `on_listening` is called with the ports of HTTP and gRPC as soon as they are open, before any bundle is loaded,
        and `on_ready` when the models can be served. `listeners`: sockets for HTTP that listen already.
        """
        self._on_ready = on_ready
        await self.parts.backend.prepare()
        self.listeners = listeners or Listeners.open(self._settings)
        with contextlib.closing(self.listeners):
            try:
                grpc_port = await self.parts.rpc.start(self._settings.host, self._settings.grpc_port)
            except OSError as error:
                raise CannotListen(f"{error}: choose another port with --grpc-port") from error
            http_port = self.listeners.http.getsockname()[1]
            http = asyncio.create_task(self._http.serve(self.listeners))
            log.info("listening %s", self.listeners.line(self._settings, grpc_port))
            on_listening(http_port, grpc_port)
            code = await self._live()
            drained = await self._drain(http)
        await self.parts.close()
        return code or drained

    def leave(self) -> bool:
        """Begin to leave. Returns True where this was asked for before, more than a second ago."""
        now_s = asyncio.get_running_loop().time()
        if self._left_at_s is None:
            self._left_at_s = now_s
            self._leaving.set()
        return now_s - self._left_at_s >= _DELIBERATE_S

    async def _live(self) -> int:
        """Load and serve until there is a reason to leave; returns the exit code for that reason."""
        serving = asyncio.create_task(self._serve())
        leaving = asyncio.create_task(self._leaving.wait())
        hanging = asyncio.create_task(self._watch())
        others = [asyncio.create_task(self._trim_memory())]
        if self.parts.certificates:
            others.append(asyncio.create_task(self.parts.certificates.keep()))
        try:
            await asyncio.wait((serving, leaving, hanging), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
                return LOAD_FAILED
            if not hanging.done():
                await self._become_unready(hanging)
            if hanging.done():
                await self._give_up()
                return HUNG
            return STOPPED
        finally:
            for task in (serving, leaving, hanging, *others):
                task.cancel()
            await asyncio.wait((serving,), timeout=_BACKEND_ENDS_IN_S)

    async def _serve(self) -> None:
        """Returns where the server shall not start with what could be loaded."""
        if not await self.parts.backend.load():
            return
        if self.parts.lifecycle.phase is Phase.STARTING:
            self.parts.lifecycle.advance(Phase.SERVING)
            await self.parts.health.publish()
            process.freeze_objects()
            self._on_ready()
            log.info("ready")
        await self.parts.backend.keep()

    async def _watch(self) -> None:
        """Returns when only a new process helps."""
        while not any(watch.complaint for watch in self.parts.watches):
            await self.parts.health.publish()
            for watch in self.parts.watches:
                watch.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _trim_memory(self) -> None:
        trimmer = process.Trimmer()
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            await self.parts.aside.run(trimmer.trim_when_settled)

    async def _become_unready(self, hanging: "asyncio.Task[None]") -> None:
        """Report not ready and still accept work, until load balancers have had time to notice or an engine hangs."""
        self.parts.lifecycle.advance(Phase.LEAVING)
        self.parts.connections.leave()
        await self.parts.health.publish()
        log.info("leaving: not ready; new work is accepted for another %d s", self._settings.drain_delay_s)
        await asyncio.wait((hanging,), timeout=self._settings.drain_delay_s)

    async def _give_up(self) -> None:
        """An engine hangs: fail its callers, and let other admitted work end. Then a new process must take over."""
        complaints = [watch.complaint for watch in self.parts.watches if watch.complaint]
        log.critical("%s; leaving", "; ".join(complaints))
        self.parts.lifecycle.break_down()
        for watch in self.parts.watches:
            watch.give_up()
        await self.parts.health.publish()
        await self._wait_until_idle(self._settings.drain_limit_s)

    async def _drain(self, http: "asyncio.Task[None]") -> int:
        """Accept nothing new, and let admitted work end. Returns CUT_SHORT where that took longer than the limit."""
        self.parts.lifecycle.advance(Phase.DRAINING)
        self._http.leave()
        self.parts.rest.end_receiving()
        limit_s = self._settings.drain_limit_s
        await asyncio.gather(self._stop_rpc(limit_s), self._stop_http(http, limit_s))
        cut_short = self.parts.backend.unanswered() > 0
        totals = " ".join(f"{name}={count}" for name, count in self.parts.metrics.totals().items())
        log.info("stopped%s images %s", ": some admitted work was cut short" if cut_short else "", totals)
        return CUT_SHORT if cut_short else STOPPED

    async def _stop_http(self, http: "asyncio.Task[None]", limit_s: float) -> None:
        """Close connections once the work is done: one whose client does not read its answer never ends by itself."""
        await self._wait_until_idle(limit_s)
        await asyncio.wait((http,), timeout=_LAST_ANSWERS_S)
        self._http.cut()

    async def _stop_rpc(self, limit_s: float) -> None:
        """Close calls once the work is done: those that watch (health, reflection) never end by themselves."""
        stopping = asyncio.create_task(self.parts.rpc.stop(limit_s))
        if await self._wait_until_idle(limit_s):
            await self.parts.rpc.stop(min(limit_s, _LAST_ANSWERS_S))
        await stopping

    async def _wait_until_idle(self, limit_s: float) -> bool:
        """Returns True when all admitted work is answered, False where it takes longer than the limit."""
        try:
            async with asyncio.timeout(limit_s):
                await self.parts.backend.idle()
                if self.parts.explainer:
                    await self.parts.explainer.idle()
        except TimeoutError:
            return False
        return True


def handle_signals(app: App, end_process: Callable[[int], object]) -> None:
    """Let the app leave in order on SIGTERM, SIGINT and SIGHUP (the terminal is gone); at once on a later second one.

    `end_process` is called with the exit code that shells use for a signal: 128 and its number.
    """

    def on_signal(number: int) -> None:
        if app.leave():
            log.warning("a second signal: leaving at once")
            end_process(128 + number)

    hang_up = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []  # nohup ignores it
    for number in (signal.SIGTERM, signal.SIGINT, *hang_up):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
