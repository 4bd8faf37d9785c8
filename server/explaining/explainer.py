"""Explainer: a photo's predictions, and how the network came to them. Runs on the event loop."""

import asyncio
import dataclasses
import time
from dataclasses import dataclass

from explain.explanation import Explanation, Wanted
from explain.wire import Failure, Job, Reply
from server.answers import Answer, Classified
from server.errors import Code, ServingError
from server.exchange import Exchange
from server.explaining.worker_process import WorkerProcess
from server.registry.loader import ReadyModel
from server.scheduling.fair_queue import Caller, Priority
from server.service import DEFAULT_TOP_K, Classifier, RequestOptions

NO_MAP = "This network does not end in a mean over places and one linear layer, so no map of a class exists."
"""What is told where an explanation has no map."""

_MOST = 8
"""Explanations at a time: one is computed, the others wait. Each holds its photo."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer to the photo, its explanation, and what that took beyond decoding and the network."""

    ready: ReadyModel
    answer: Answer
    explanation: Explanation
    explain_ms: float

    @property
    def classified(self) -> Classified:
        return Classified(self.ready, [self.answer])


class Explainer:
    """Admits a photo as bulk work, and has the fp32 graph's answer explained in a process of its own."""

    def __init__(self, classifier: Classifier, worker: WorkerProcess, max_pixels: int, exact_pixels: bool) -> None:
        self._classifier = classifier
        self.worker = worker
        self._max_pixels = max_pixels
        self._exact_pixels = exact_pixels
        self._turn = asyncio.Lock()
        self._taken = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._last_s = 1.0  # how long the last explanation took

    async def explain(self, photo: bytes, options: RequestOptions, wanted: Wanted) -> Explained:
        """`wanted.top_k` is taken from the options. Raises ServingError."""
        if self._taken >= _MOST:
            raise ServingError(
                Code.QUEUE_FULL, "Too many explanations are asked for: try again later.", self._taken * self._last_s
            )
        self._taken += 1
        self._idle.clear()
        try:
            return await self._explain(photo, options, wanted)
        finally:
            self._taken -= 1
            if not self._taken:
                self._idle.set()

    async def idle(self) -> None:
        """Returns when nothing is being explained."""
        await self._idle.wait()

    async def close(self) -> None:
        """End the process that computes."""
        await self.worker.close()

    async def _explain(self, photo: bytes, options: RequestOptions, wanted: Wanted) -> Explained:
        bulk = dataclasses.replace(options, caller=Caller(Priority.BULK))
        began_s = time.monotonic()
        async with self._classifier.admitted(photo, bulk) as ready:
            reply, took_s = await self._in_turn(self._job(ready, photo, options, wanted))
            explanation = _explanation(reply)
        total_ms = (time.monotonic() - began_s) * 1e3
        answer = Answer(
            predictions=explanation.predictions,
            vote=explanation.vote,
            decode_ms=explanation.decode_ms,
            queue_ms=max(0.0, total_ms - took_s * 1e3),
            infer_ms=explanation.infer_ms,
            total_ms=total_ms,
            batch=1,
        )
        self._note(options.exchange, answer, took_s)
        beyond_ms = took_s * 1e3 - explanation.decode_ms - explanation.infer_ms
        return Explained(ready, answer, explanation, beyond_ms)

    def _note(self, exchange: Exchange, answer: Answer, took_s: float) -> None:
        """The photo was explained, just now."""
        exchange.computed(answer.decode_ms / 1e3, answer.queue_ms / 1e3, answer.infer_ms / 1e3, answer.batch)
        exchange.explain_s = took_s
        if exchange.recorded:
            now_s = time.monotonic()
            exchange.spans.append(("explain", now_s - took_s, now_s))

    def _job(self, ready: ReadyModel, photo: bytes, options: RequestOptions, wanted: Wanted) -> Job:
        bundle = ready.loaded.bundle
        manifest, classes = bundle.manifest, len(bundle.labels)
        if wanted.class_index is not None and wanted.class_index >= classes:
            raise ServingError(Code.MALFORMED, f"class must be from 0 to {classes - 1}, the index of an output.")
        if not manifest.head and not any(block.gate for block in manifest.architecture.se_blocks):
            raise ServingError(
                Code.NOT_EXPLAINABLE,
                f"The bundle '{manifest.name}' names no inner tensors of its network: export it again, and load it.",
            )
        wanted = dataclasses.replace(wanted, top_k=options.top_k or min(DEFAULT_TOP_K, classes))
        sha256, folder = bundle.graph("fp32")[0].sha256, str(bundle.path.resolve())
        return Job(folder, sha256, photo, wanted, self._max_pixels, self._exact_pixels)

    async def _in_turn(self, job: Job) -> tuple[Reply, float]:
        """The reply, and how many seconds it took.

        A caller that leaves while its job is computed leaves the turn to it until it has ended.
        """
        await self._turn.acquire()
        running = asyncio.create_task(self._timed(job))
        running.add_done_callback(self._end_turn)
        return await asyncio.shield(running)

    async def _timed(self, job: Job) -> tuple[Reply, float]:
        began_s = time.monotonic()
        reply = await self.worker.run(job)
        self._last_s = time.monotonic() - began_s
        return reply, self._last_s

    def _end_turn(self, running: "asyncio.Task[tuple[Reply, float]]") -> None:
        self._turn.release()
        if not running.cancelled():
            running.exception()  # whoever asked may have left


def _explanation(reply: Reply) -> Explanation:
    if reply.explanation is not None:
        return reply.explanation
    failure = reply.failure or Failure("bug", "The explanation failed; the server's log has the details.")
    match failure.kind:
        case "photo":
            raise ServingError(Code(failure.code), failure.detail)
        case "bundle":
            raise ServingError(Code.NOT_READY, failure.detail, retry_after_s=1)
    raise ServingError(Code.INTERNAL, failure.detail)
