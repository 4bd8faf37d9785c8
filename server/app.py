"""App: puts the parts together and leads the process through its life; owns the signals."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry

from bundle import files
from server import cores, engines
from server.batcher import Batcher, Device
from server.engines.ort import OrtCpuEngine
from server.lifecycle import Lifecycle, Phase
from server.metrics import Metrics
from server.repository import Entry, Loaded, Repository, State
from server.rest import RestFace
from server.rpc import RpcFace
from server.service import Classifier, Limits
from server.settings import Settings
from server.threads import Threads

log = logging.getLogger(__name__)

STOPPED, CUT_SHORT, LOAD_FAILED = 0, 1, 3
"""Exit codes: all accepted work was answered; some was not within the limit; a bundle failed at the start."""

_DELIBERATE_S = 1.0
"""A second signal counts only this long after the first: make and process groups deliver one twice."""


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process with the signal instead of exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class App:
    """The composed server. Raises BundleError where there is nothing to serve. Create it inside the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shares = cores.shares(settings.decode_threads, settings.engine_threads)
        self._device = Device("engine")
        self._loaders = Threads(1, "load")
        self._lifecycle = Lifecycle()
        self._metrics = Metrics(CollectorRegistry())
        self._repository = Repository(
            settings.bundles, settings.default_model, self._open_bundle, self._make_batcher, self._model_changed
        )
        limits = Limits(settings.max_image_bytes, settings.max_request_bytes, settings.max_pixels, settings.max_images)
        decoders = Threads(self._shares.decode, "decode")
        classifier = Classifier(self._repository, decoders, self._lifecycle, limits, self._metrics)
        timeout_ms = settings.default_timeout_ms
        self._rpc = RpcFace(classifier, self._repository, self._metrics, timeout_ms)
        rest = RestFace(classifier, self._repository, self._lifecycle, self._metrics, timeout_ms, version("sesame"))
        self._http = _HttpServer(
            uvicorn.Config(
                rest.app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=settings.drain_limit_s,
            )
        )
        self._leave = asyncio.Event()
        self._signalled_at_s: float | None = None

    async def run(self) -> int:
        """Serve until a signal; returns the exit code. Raises OSError where a port is taken."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        listener = _listen(self._settings.host, self._settings.http_port)
        grpc_port = await self._rpc.start(self._settings.host, self._settings.grpc_port)
        serving = asyncio.create_task(self._http.serve([listener]))
        log.info(
            "listening http=http://%s:%d grpc=%s:%d", self._settings.host, listener.getsockname()[1],
            self._settings.host, grpc_port,
        )  # fmt: skip
        loading = asyncio.create_task(self._load())
        leaving = asyncio.create_task(self._leave.wait())
        await asyncio.wait((loading, leaving), return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and not loading.result():
            code = LOAD_FAILED
        else:
            await leaving
            await self._go_unready()
            code = STOPPED
        return await self._drain(serving) or code

    async def _load(self) -> bool:
        """Load all bundles; whether the server may go on with what was loaded."""
        failed = await self._repository.load(self._loaders)
        if failed and not self._settings.keep_going:
            log.error("stopping: a bundle failed to load; mend or remove it, or serve the others with --keep-going")
            return False
        if self._lifecycle.phase is Phase.STARTING:
            self._lifecycle.advance(Phase.SERVING)
            await self._rpc.set_ready(True)
            log.info("ready")
        return True

    async def _go_unready(self) -> None:
        """Be seen to leave while still taking work, for as long as load balancers need to notice."""
        self._lifecycle.advance(Phase.LEAVING)
        await self._rpc.set_ready(False)
        log.info("leaving: not ready, taking work for another %d s", self._settings.drain_delay_s)
        await asyncio.sleep(self._settings.drain_delay_s)

    async def _drain(self, serving: "asyncio.Task[None]") -> int:
        """Take nothing new, let accepted work end. Returns CUT_SHORT where it did not within the limit."""
        self._lifecycle.advance(Phase.DRAINING)
        self._http.should_exit = True
        limit_s = self._settings.drain_limit_s
        _, waited = await asyncio.gather(self._rpc.stop(limit_s), asyncio.wait((serving,), timeout=limit_s + 1))
        cut_short = bool(waited[1]) or any(entry.ready and entry.ready.batcher.taken for entry in self._entries())
        log.info("stopped%s", ": some accepted work was cut short" if cut_short else "")
        return CUT_SHORT if cut_short else STOPPED

    def _entries(self) -> list[Entry]:
        return self._repository.entries()

    def _signalled(self, number: int) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._signalled_at_s is None:
            self._signalled_at_s = now_s
            self._leave.set()
        elif now_s - self._signalled_at_s >= _DELIBERATE_S:
            log.warning("a second signal: leaving at once")
            leave_now(128 + number)

    def _open_bundle(self, path: Path) -> Loaded:
        """In the loading thread: verify, build the engine, warm it up and check it."""
        bundle = files.read(path)
        graph, file = bundle.graph("fp32")
        engine = OrtCpuEngine(file, self._shares.engine)
        parity = engines.check(engine, bundle.probe, self._settings.max_batch)
        return Loaded(bundle, engine, f"the only engine for {graph.file} on this machine", parity)

    def _make_batcher(self, loaded: Loaded) -> Batcher:
        manifest = loaded.bundle.manifest
        labels = (manifest.name, manifest.version)
        batcher = Batcher(
            lambda pixels: engines.run_checked(loaded.engine, pixels, manifest.labels.classes),
            self._device,
            self._settings.queue_images,
            self._settings.max_batch,
            self._metrics.batch_images.labels(*labels).observe,
        )
        self._metrics.places.labels(*labels).set_function(lambda: batcher.taken)
        return batcher

    def _model_changed(self, entry: Entry) -> None:
        ready = entry.state is State.READY
        self._metrics.model_ready.labels(entry.name, entry.version).set(ready)


def leave_now(code: int) -> None:
    """End the process without waiting for threads that cannot be stopped."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket; uvicorn's own would end the process where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"HTTP cannot listen on {host}:{port} ({error.strerror})") from error
