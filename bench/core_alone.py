"""CoreAlone: a core in this process, and generators in others that submit pictures as fronts do, without faces."""

import asyncio
import multiprocessing
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np

from bench.fast_engine import PacedEngine
from bundle import files
from bundle.files import Bundle
from server.engines.choice import Choice
from server.host import process
from server.processes.front.remote_queue import RemoteQueue
from server.processes.front.session import Session
from server.processes.wire import control_socket
from server.processes.wire import messages as m
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import NOW
from server.settings import Settings
from server.startup.core_process import CoreProcess

_BATCH = 32
_WARM_S = 0.5
_DEADLINE_S = 60.0


@dataclass(frozen=True)
class CoreAlone:
    """`core_us`: CPU of the core's process for an image, `loop_us` that of its event loop alone. `front_us`: CPU of a
    generator for an image. `busy_share`: how much of the time the engine had a batch, of `images_per_batch`.
    """

    side: int
    batch_ms: float
    generators: int
    in_flight: int
    images_per_s: float
    core_us: float
    loop_us: float
    front_us: float
    busy_share: float
    images_per_batch: float


def measure(bundle: Path, batch_s: float, generators: int, in_flight: int, seconds: float) -> CoreAlone:
    """Run a core on this bundle, with an engine that takes `batch_s` for a batch, for so long.

    Each of the `generators` has `in_flight` images under way.
    """
    with asyncio.Runner(loop_factory=process.event_loop()) as runner:
        return runner.run(_measure(bundle, batch_s, generators, in_flight, seconds))


async def _measure(bundle: Path, batch_s: float, generators: int, in_flight: int, seconds: float) -> CoreAlone:
    engines: list[PacedEngine] = []

    def choose(opened: Bundle) -> Choice:
        engines.append(PacedEngine(opened, batch_s))
        return Choice(engines[0], "a measurement's")

    ready = asyncio.Event()
    listener, name = control_socket.listen()
    with listener, tempfile.TemporaryDirectory() as cache:
        core = CoreProcess(_settings(bundle, Path(cache), generators * in_flight), choose, lambda: 0)
        serving = asyncio.create_task(core.run(listener, ready.set))
        await ready.wait()
        (engine,) = engines
        engine.serving = True
        found = await _loaded(engine, name, bundle, generators, in_flight, seconds)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
    return found


async def _loaded(
    engine: PacedEngine, name: str, bundle: Path, generators: int, in_flight: int, seconds: float
) -> CoreAlone:
    spawn = multiprocessing.get_context("spawn")
    told: SimpleQueue[tuple[int, float]] = spawn.SimpleQueue()
    began: SimpleQueue[int] = spawn.SimpleQueue()
    arguments = (name, str(bundle), in_flight, seconds, began, told)
    running = [spawn.Process(target=_generator_process, args=arguments) for _ in range(generators)]
    for one in running:
        one.start()
    for _ in running:
        await asyncio.to_thread(began.get)
    before = time.perf_counter(), time.process_time(), time.thread_time(), engine.images, engine.batches, engine.busy_s
    await asyncio.sleep(seconds)
    after = time.perf_counter(), time.process_time(), time.thread_time(), engine.images, engine.batches, engine.busy_s
    wall_s, core_s, loop_s, images, batches, busy_s = (end - begin for begin, end in zip(before, after, strict=True))
    fronts = [await asyncio.to_thread(told.get) for _ in running]
    for one in running:
        await asyncio.to_thread(one.join)
    return CoreAlone(
        side=files.read(bundle).manifest.preprocessing.height,
        batch_ms=engine.batch_s * 1e3,
        generators=generators,
        in_flight=in_flight,
        images_per_s=images / wall_s,
        core_us=core_s / images * 1e6,
        loop_us=loop_s / images * 1e6,
        front_us=sum(cpu_s for _, cpu_s in fronts) / sum(count for count, _ in fronts) * 1e6,
        busy_share=busy_s / wall_s,
        images_per_batch=images / batches,
    )


def _settings(bundle: Path, cache: Path, in_flight: int) -> Settings:
    return Settings(
        model_repository=bundle.parent.parent,
        cache_dir=cache,
        queue_images=max(2 * in_flight, 64),
        max_wait_ms=600_000,
        max_batch=_BATCH,
        engine="onnxruntime-cpu",
    )


def _generator_process(
    name: str,
    bundle: str,
    in_flight: int,
    seconds: float,
    began: "SimpleQueue[int]",
    told: "SimpleQueue[tuple[int, float]]",
) -> None:
    with asyncio.Runner(loop_factory=process.event_loop()) as runner:
        told.put(runner.run(_generate(name, Path(bundle), in_flight, seconds, began)))


async def _generate(
    name: str, bundle: Path, in_flight: int, seconds: float, began: "SimpleQueue[int]"
) -> tuple[int, float]:
    """Images answered and CPU seconds, from half a second after the first until the core has measured."""
    load: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def hear(_: Session, news: m.ToFront) -> None:
        if isinstance(news, m.Catalogue) and not load.done():
            load.set_result(news.versions[0].load)

    session = await Session.begin(name, hear, lambda: None)
    manifest = files.read(bundle).manifest
    queue = RemoteQueue(session, await load, manifest.labels.classes)
    picture = np.zeros((manifest.preprocessing.height, manifest.preprocessing.width, 3), np.uint8)
    answered, ending = 0, False

    async def submit_again() -> None:
        nonlocal answered
        caller = Caller()
        while not ending:
            (permit,) = await queue.admit(1, caller, time.monotonic() + _DEADLINE_S, NOW, patient=False)
            try:
                await permit.submit(picture)
            finally:
                permit.release()
            answered += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(submit_again())
        await asyncio.sleep(_WARM_S)
        began.put(os.getpid())
        before = answered, time.process_time()
        await asyncio.sleep(seconds)
        found = answered - before[0], time.process_time() - before[1]
        ending = True
    session.close()
    return found
