"""Classifier: the service. Encoded photos in, predictions out; knows deadlines and limits, knows no framework."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bundle import images, predictions
from bundle.errors import ImageError
from bundle.images import Picture
from bundle.manifest import Preprocessing
from bundle.predictions import Prediction, Vote
from server.batcher import Place
from server.errors import PER_IMAGE, Code, ServingError
from server.lifecycle import Lifecycle
from server.loader import ReadyModel
from server.metrics import Metrics
from server.repository import Repository
from server.threads import Threads

DEFAULT_TOP_K = 5


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_image_bytes: int
    max_request_bytes: int
    max_pixels: int
    max_images: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One photo's predictions, its group where the labels have any, where its time went, and the size of its batch.

    `queue_ms`: pixels ready to dispatch; `infer_ms`: its whole batch; `total_ms`: admission to answer.
    """

    predictions: tuple[Prediction, ...]
    vote: Vote | None
    decode_ms: float
    queue_ms: float
    infer_ms: float
    total_ms: float
    batch: int


@dataclass(frozen=True, slots=True)
class Classified:
    """The outcome of each image of a request, in its order, and the model version that answered."""

    model: str
    version: str
    outcomes: list[Answer | ServingError]


class Classifier:
    """Admits, decodes, batches and names. Cancelling `classify` withdraws all that no thread has begun."""

    def __init__(
        self, repository: Repository, decoders: Threads, lifecycle: Lifecycle, limits: Limits, metrics: Metrics
    ) -> None:
        self.limits = limits
        self._repository = repository
        self._decoders = decoders
        self._lifecycle = lifecycle
        self._metrics = metrics

    async def classify(
        self, encoded: Sequence[bytes], *, model: str, version: str, top_k: int | None, deadline_s: float
    ) -> Classified:
        """Classify the photos of one request. `deadline_s` is on the event loop's clock.

        Raises ServingError for what fails the request whole; what fails one photo is that photo's outcome.
        """
        ready = self._admit(encoded, model, version, deadline_s)
        k = _top_k(top_k, len(ready.loaded.bundle.labels))
        places = ready.batcher.reserve(len(encoded))
        tasks = [self._begin(ready, place, photo, k) for place, photo in zip(places, encoded, strict=True)]
        try:
            async with asyncio.timeout_at(deadline_s):
                await asyncio.wait(tasks)
        except TimeoutError:
            raise _deadline_passed() from None
        finally:
            for task in tasks:
                task.cancel()
        manifest = ready.loaded.bundle.manifest
        return Classified(manifest.name, manifest.version, [_outcome(task) for task in tasks])

    def _admit(self, encoded: Sequence[bytes], model: str, version: str, deadline_s: float) -> ReadyModel:
        if not self._lifecycle.accepting:
            raise ServingError(Code.DRAINING, "This server is going away: send the request again.", retry_after_s=1)
        if len(encoded) > self.limits.max_images:
            raise ServingError(
                Code.MALFORMED, f"{len(encoded)} images in one request: send at most {self.limits.max_images}."
            )
        if deadline_s <= asyncio.get_running_loop().time():
            raise _deadline_passed()
        return self._repository.pick(model, version)

    def _begin(self, ready: ReadyModel, place: Place, encoded: bytes, k: int) -> "asyncio.Task[Answer]":
        """Start on one photo. Its place is given back when the task ends, which may be after its caller has left."""
        task = asyncio.create_task(self._answer(ready, place, encoded, k))
        task.add_done_callback(partial(self._settle, ready, place))
        return task

    async def _answer(self, ready: ReadyModel, place: Place, encoded: bytes, k: int) -> Answer:
        started_s = time.perf_counter()
        bundle = ready.loaded.bundle
        picture, decode_s = await self._decode(encoded, bundle.manifest.preprocessing)
        row = await place.submit(picture)
        best = predictions.top(row.probabilities, bundle.labels, k)
        vote = predictions.vote(row.probabilities, bundle.labels) if bundle.grouped else None
        total_s = time.perf_counter() - started_s
        self._observe(ready, {"decode": decode_s, "queue": row.queue_s, "infer": row.infer_s, "total": total_s})
        return Answer(best, vote, decode_s * 1e3, row.queue_s * 1e3, row.infer_s * 1e3, total_s * 1e3, row.batch)

    async def _decode(self, encoded: bytes, preprocessing: Preprocessing) -> tuple[Picture, float]:
        if len(encoded) > self.limits.max_image_bytes:
            raise ServingError(
                Code.TOO_LARGE, f"The image has {len(encoded)} bytes: send at most {self.limits.max_image_bytes}."
            )
        try:
            return await self._decoders.run(_timed_decode, encoded, preprocessing, self.limits.max_pixels)
        except ImageError as error:
            raise ServingError.of_image(error) from error

    def _observe(self, ready: ReadyModel, seconds: dict[str, float]) -> None:
        manifest = ready.loaded.bundle.manifest
        for stage, value in seconds.items():
            self._metrics.stage_seconds.labels(manifest.name, manifest.version, stage).observe(value)

    def _settle(self, ready: ReadyModel, place: Place, task: "asyncio.Task[Answer]") -> None:
        place.release()
        error = None if task.cancelled() else task.exception()
        outcome = "abandoned" if task.cancelled() else "ok" if error is None else _code(error)
        manifest = ready.loaded.bundle.manifest
        self._metrics.images.labels(manifest.name, manifest.version, outcome).inc()


def _timed_decode(encoded: bytes, preprocessing: Preprocessing, max_pixels: int) -> tuple[Picture, float]:
    started_s = time.perf_counter()
    picture = images.to_picture(encoded, preprocessing, max_pixels)
    return picture, time.perf_counter() - started_s


def _top_k(wanted: int | None, classes: int) -> int:
    if wanted is None:
        return min(DEFAULT_TOP_K, classes)
    if not 1 <= wanted <= classes:
        raise ServingError(Code.MALFORMED, f"top_k must be from 1 to {classes}, the number of classes.")
    return wanted


def _outcome(task: "asyncio.Task[Answer]") -> Answer | ServingError:
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, ServingError) and error.code in PER_IMAGE:
        return error
    raise error


def _code(error: BaseException) -> Code:
    return error.code if isinstance(error, ServingError) else Code.INTERNAL


def _deadline_passed() -> ServingError:
    return ServingError(Code.DEADLINE, "The deadline passed before the answer was there: allow more time.")
