"""Explainer: a photo's predictions, and how the network came to them. Runs on the event loop."""

import asyncio
import dataclasses
import time
from dataclasses import dataclass

from explain.explanation import Explanation, Wanted
from explain.wire import Failure, Job, Reply
from server.errors import Code, ServingError
from server.explaining.worker_process import WorkerProcess
from server.registry.loader import ReadyModel
from server.scheduling.deadline import too_late
from server.scheduling.fair_queue import Caller, Priority
from server.service import Answer, Classified, Classifier, RequestOptions

NO_MAP = "This network does not end in a mean over places and one linear layer, so no map of a class exists."
"""What is told where an explanation has no map."""

_MOST = 8
"""Explanations at a time: one is computed, the others wait. Each holds its photo."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer to the photo, and the explanation, which took `seconds` beyond it."""

    classified: Classified
    explanation: Explanation
    seconds: float

    @property
    def answer(self) -> Answer:
        (outcome,) = self.classified.outcomes
        assert isinstance(outcome, Answer), "a photo that failed is not explained. This is a bug."
        return outcome


class Explainer:
    """Classifies a photo as bulk work, in the engine that serves, and explains the answer by the fp32 graph."""

    def __init__(self, classifier: Classifier, worker: WorkerProcess, max_pixels: int, exact_pixels: bool) -> None:
        self._classifier = classifier
        self._worker = worker
        self._max_pixels = max_pixels
        self._exact_pixels = exact_pixels
        self._turn = asyncio.Lock()
        self._taken = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._last_s = 1.0  # how long the last explanation took

    async def explain(self, photo: bytes, options: RequestOptions, wanted: Wanted) -> Explained:
        """Raises ServingError."""
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
        await self._worker.close()

    async def _explain(self, photo: bytes, options: RequestOptions, wanted: Wanted) -> Explained:
        bulk = dataclasses.replace(options, caller=Caller(Priority.BULK))
        classified = await self._classifier.classify([photo], bulk)
        (outcome,) = classified.outcomes
        if isinstance(outcome, ServingError):
            raise outcome.fresh()
        _check(classified.ready, wanted)
        if wanted.class_index is None:
            wanted = dataclasses.replace(wanted, class_index=outcome.predictions[0].index)
        bundle = classified.ready.loaded.bundle
        sha256 = bundle.graph("fp32")[0].sha256
        folder = str(bundle.path.resolve())
        job = Job(folder, sha256, photo, wanted, self._max_pixels, self._exact_pixels)
        began_s = time.monotonic()
        try:
            async with asyncio.timeout_at(options.deadline_s):
                reply = await self._in_turn(job)
        except TimeoutError:
            raise too_late() from None
        return Explained(classified, _explanation(reply), time.monotonic() - began_s)

    async def _in_turn(self, job: Job) -> Reply:
        """A caller that leaves while its job is computed leaves the turn to it until it has ended."""
        await self._turn.acquire()
        running = asyncio.create_task(self._timed(job))
        running.add_done_callback(self._end_turn)
        return await asyncio.shield(running)

    async def _timed(self, job: Job) -> Reply:
        began_s = time.monotonic()
        reply = await self._worker.run(job)
        self._last_s = time.monotonic() - began_s
        return reply

    def _end_turn(self, running: "asyncio.Task[Reply]") -> None:
        self._turn.release()
        if not running.cancelled():
            running.exception()  # whoever asked may have left


def _check(ready: ReadyModel, wanted: Wanted) -> None:
    manifest = ready.loaded.bundle.manifest
    if wanted.class_index is not None and wanted.class_index >= manifest.labels.classes:
        raise ServingError(Code.MALFORMED, f"class must be from 0 to {manifest.labels.classes - 1}, an output's index.")
    if not manifest.head and not any(block.gate for block in manifest.architecture.se_blocks):
        raise ServingError(
            Code.NOT_EXPLAINABLE,
            f"The bundle '{manifest.name}' names no inner tensors of its network: export it again, and load it.",
        )


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
