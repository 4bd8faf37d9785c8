"""Classifier: the service. Encoded photos in, predictions out; knows deadlines and limits, knows no framework."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bundle import predictions
from bundle.predictions import Prediction, Vote
from server.admission import Admission, too_late
from server.batcher import Place
from server.decoders import Decoders
from server.errors import PER_IMAGE, Code, ServingError
from server.flights import Computed
from server.lifecycle import Lifecycle
from server.loader import ReadyModel
from server.repository import Repository
from server.waiting import Caller

DEFAULT_TOP_K = 5


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_image_bytes: int
    max_request_bytes: int
    max_images: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for besides its photos. `deadline_s` is on the monotonic clock, the event loop's.

    A `patient` one waits for places where others are told QUEUE_FULL.
    """

    deadline_s: float
    caller: Caller
    model: str = ""
    version: str = ""
    top_k: int | None = None
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One photo's predictions, its group where the labels have any, where its time went, and the size of its batch.

    `queue_ms`: pixels ready to dispatch; `infer_ms`: its whole batch; `total_ms`: admission to answer. An answer that
    was remembered has no batch: 0.
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
    """The outcome of each image of a request, in its order, and the model that answered."""

    ready: ReadyModel
    outcomes: list[Answer | ServingError]

    @property
    def model(self) -> str:
        return self.ready.loaded.bundle.manifest.name

    @property
    def version(self) -> str:
        return self.ready.loaded.bundle.manifest.version


class Classifier:
    """Admits, decodes, batches and names. Cancelling `classify` withdraws all that no thread has begun."""

    def __init__(self, repository: Repository, decoders: Decoders, lifecycle: Lifecycle, limits: Limits) -> None:
        self.limits = limits
        self._repository = repository
        self._decoders = decoders
        self._lifecycle = lifecycle

    async def classify(self, encoded: Sequence[bytes], wish: Wish) -> Classified:
        """Classify the photos of one request.

        Raises ServingError for what fails the request whole; what fails one photo is that photo's outcome.
        """
        if len(encoded) > self.limits.max_images:
            raise ServingError(
                Code.MALFORMED, f"{len(encoded)} images in one request: send at most {self.limits.max_images}."
            )
        ready, places = await self._admitted(len(encoded), wish)
        k = wish.top_k or min(DEFAULT_TOP_K, len(ready.loaded.bundle.labels))
        tasks = [self._begin(ready, place, photo, k) for place, photo in zip(places, encoded, strict=True)]
        fate = "gone"
        try:
            async with asyncio.timeout_at(wish.deadline_s):
                await asyncio.wait(tasks)
        except TimeoutError:
            fate = Code.DEADLINE
            raise too_late() from None
        finally:
            for task in tasks:
                if task.cancel():
                    ready.metrics.outcome(fate)
        return Classified(ready, [_outcome(task) for task in tasks])

    async def _admitted(self, images: int, wish: Wish) -> tuple[ReadyModel, list[Place]]:
        waited: Admission | None = None
        try:
            async with asyncio.timeout_at(wish.deadline_s):
                while True:
                    ready = self._picked(wish)
                    try:
                        return ready, self._reserve(ready, images, wish)
                    except ServingError as error:
                        if error.code is not Code.QUEUE_FULL or not wish.patient:
                            ready.metrics.refused(error.code, images)
                            raise
                    waited = ready.batcher.admission
                    await waited.room()
        except BaseException as error:
            if waited is not None:
                waited.pass_on()
            if isinstance(error, TimeoutError):
                raise too_late() from None
            raise

    def _picked(self, wish: Wish) -> ReadyModel:
        if not self._lifecycle.accepting:
            raise ServingError(Code.DRAINING, "This server is going away: send the request again.", retry_after_s=1)
        ready = self._repository.pick(wish.model, wish.version)
        classes = len(ready.loaded.bundle.labels)
        if wish.top_k is not None and not 1 <= wish.top_k <= classes:
            raise ServingError(Code.MALFORMED, f"top_k must be from 1 to {classes}, the number of classes.")
        return ready

    def _reserve(self, ready: ReadyModel, images: int, wish: Wish) -> list[Place]:
        places = ready.batcher.reserve(images, wish.caller, wish.deadline_s, self._decoders.ready_in_s)
        ready.metrics.admitted(images)
        return places

    def _begin(self, ready: ReadyModel, place: Place, encoded: bytes, k: int) -> "asyncio.Task[Answer]":
        """Start on one photo. Its place is given back when the task ends, which may be after its caller has left."""
        task = asyncio.create_task(self._answer(ready, place, encoded, k))
        task.add_done_callback(partial(_settle, ready, place))
        return task

    async def _answer(self, ready: ReadyModel, place: Place, encoded: bytes, k: int) -> Answer:
        started_s = time.monotonic()
        if len(encoded) > self.limits.max_image_bytes:
            raise ServingError(
                Code.TOO_LARGE, f"The image has {len(encoded)} bytes: send at most {self.limits.max_image_bytes}."
            )
        computed = await self._computed(ready, place, encoded)
        row, bundle = computed.row, ready.loaded.bundle
        best = predictions.top(row.probabilities, bundle.labels, k)
        vote = predictions.vote(row.probabilities, bundle.labels) if bundle.grouped else None
        total_s = time.monotonic() - started_s
        ready.metrics.took("total", total_s)
        return Answer(
            predictions=best,
            vote=vote,
            decode_ms=computed.decode_s * 1e3,
            queue_ms=row.queue_s * 1e3,
            infer_ms=row.infer_s * 1e3,
            total_ms=total_s * 1e3,
            batch=row.batch,
        )

    async def _computed(self, ready: ReadyModel, place: Place, encoded: bytes) -> Computed:
        """The engine's row for a photo: remembered, or shared with whoever asks for the same one just now."""
        digest = await self._decoders.digest(encoded)
        return ready.flights.recall(digest) or await ready.flights.join(
            digest, place.deadline, lambda: self._compute(ready, place, encoded)
        )

    async def _compute(self, ready: ReadyModel, place: Place, encoded: bytes) -> Computed:
        picture, decode_s = await self._decoders.decode(encoded, ready.loaded.bundle.manifest.preprocessing)
        ready.metrics.took("decode", decode_s)
        row = await place.submit(picture)
        ready.metrics.took("queue", row.queue_s)
        ready.metrics.took("infer", row.infer_s)
        return Computed(row, decode_s)


def _settle(ready: ReadyModel, place: Place, task: "asyncio.Task[Answer]") -> None:
    place.release()
    if not task.cancelled():  # else it was counted when its caller left
        error = task.exception()
        code = error.code if isinstance(error, ServingError) else Code.INTERNAL
        ready.metrics.outcome("ok" if error is None else code)


def _outcome(task: "asyncio.Task[Answer]") -> Answer | ServingError:
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, ServingError) and error.code in PER_IMAGE:
        return error
    raise error
