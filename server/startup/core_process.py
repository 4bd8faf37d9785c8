"""Core process: loads the models, and serves them to the fronts until there is a reason to leave."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry

from server.host import cores, process
from server.host.exit_codes import HUNG, LOAD_FAILED, STOPPED
from server.metrics import Metrics
from server.process_metrics import show_core
from server.processes.core import core as core_of
from server.processes.core.announcer import Announcer
from server.processes.core.core import Core, NoDecoding
from server.settings import Settings
from server.startup.compose_keys import compose_keys
from server.startup.compose_models import Choose, Models, compose_models
from server.startup.compose_spans import compose_spans

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_BUILDS_END_IN_S = 5.0
_LAST_SPANS_S = 1.0


class CoreProcess:
    """Runs on the event loop of its process. It imports no face, so that a new one serves soon after the last died."""

    def __init__(
        self, settings: Settings, choose: Choose | None, dropped: Callable[[], int], restarts: int = 0
    ) -> None:
        """`choose`: see `compose_models`. `dropped`: how many lines of the log were dropped. `restarts`: how often the
        parent has started a core again. Raises BundleError, and KeysError.
        """
        metrics = Metrics(CollectorRegistry())
        metrics.log_lines_dropped.set_function(dropped)
        shares = cores.shares(settings.decode_threads, settings.engine_threads)
        self._announcer = Announcer()
        self._spans = compose_spans(settings, "core", metrics)
        offer = partial(core_of.offer, self._announcer)
        self._models: Models = compose_models(
            settings, shares, NoDecoding(), metrics, choose, offer=offer, spans=self._spans
        )
        self._keys = compose_keys(settings, metrics, admits=True)
        self._core = core = Core(self._announcer, self._models.registry, metrics, self._keys.callers)
        show_core(metrics.registry, restarts, lambda: core.fronts)

    async def run(self, listener: socket.socket, on_ready: Callable[[], None]) -> int:
        """Serve until SIGTERM, and then until the last front has gone; returns the exit code. Raises BundleError.

        `listener`: of the control socket.
        """
        leaving = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, leaving.set)
        accepting = asyncio.create_task(self._core.serve(listener))
        loading = asyncio.create_task(self._load_and_keep(on_ready))
        watching = asyncio.create_task(self._watch())
        told = asyncio.create_task(self._leave(leaving))
        try:
            await asyncio.wait((accepting, loading, watching, told), return_when=asyncio.FIRST_COMPLETED)
            if accepting.done():
                await accepting  # it raises: a new core is needed
            return next((ended.result() for ended in (loading, watching) if ended.done()), STOPPED)
        finally:
            for task in (loading, watching, told, accepting):
                task.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait((loading, accepting), timeout=_BUILDS_END_IN_S)
            if self._spans:
                self._spans.close(_LAST_SPANS_S)

    async def _load_and_keep(self, on_ready: Callable[[], None]) -> int:
        """Returns where the core shall not start with what could be loaded."""
        if await self._models.registry.load():
            self._announcer.complete = True
            self._announcer.publish()
            process.freeze_objects()
            on_ready()
            log.info("the core is ready")
            await self._models.registry.keep()
        return LOAD_FAILED

    async def _leave(self, leaving: asyncio.Event) -> None:
        await leaving.wait()
        log.info("leaving when the last front has gone")
        await self._core.deserted()

    async def _watch(self) -> int:
        """Returns when only a new process helps."""
        while not self._models.watch.complaint:
            self._models.watch.look()
            if self._keys.watch:
                self._keys.watch.look()
            await asyncio.sleep(_LOOK_EVERY_S)
        log.critical("%s; leaving", self._models.watch.complaint)
        return HUNG
