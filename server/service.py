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
from server.decoders import Decoders, Photo
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
    default_timeout_s: float
    max_timeout_s: float


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

    def deadline_s(self, timeout_s: float | None) -> float:
        """When a request that begins now must be answered, on the event loop's clock."""
        wanted_s = self.limits.default_timeout_s if timeout_s is None else min(timeout_s, self.limits.max_timeout_s)
        return time.monotonic() + wanted_s

    def draining(self) -> ServingError | None:
        """What a request is told that comes too late; None while new work is taken on."""
        if self._lifecycle.accepting:
            return None
        return ServingError(Code.DRAINING, "This server is going away: send the request again.", retry_after_s=1)

    async def classify(self, encoded: Sequence[bytes], wish: Wish) -> Classified:
        """Classify the photos of one request.

        Raises ServingError for what fails the request whole; what fails one photo is that photo's outcome.
        """
        if len(encoded) > self.limits.max_images:
            raise ServingError(
                Code.MALFORMED, f"{len(encoded)} images in one request: send at most {self.limits.max_images}."
            )
        self._picked(wish)  # before any work: who asks for what there is not is told so at once
        photos = await self._examined(encoded, wish)
        ready, places = await self._admitted(photos, wish)
        k = wish.top_k or min(DEFAULT_TOP_K, len(ready.loaded.bundle.labels))
        tasks = [self._begin(ready, place, photo, k) for place, photo in zip(places, photos, strict=True)]
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

    async def _examined(self, encoded: Sequence[bytes], wish: Wish) -> list[Photo]:
        try:
            async with asyncio.timeout_at(wish.deadline_s):
                return await self._decoders.examine(encoded, wish.caller)
        except TimeoutError:
            raise too_late() from None

    async def _admitted(self, photos: Sequence[Photo], wish: Wish) -> tuple[ReadyModel, list[Place]]:
        waited: Admission | None = None
        try:
            async with asyncio.timeout_at(wish.deadline_s):
                while True:
                    ready = self._picked(wish)
                    try:
                        return ready, self._reserve(ready, photos, wish)
                    except ServingError as error:
                        if error.code is not Code.QUEUE_FULL or not wish.patient:
                            ready.metrics.refused(error.code, len(photos))
                            raise
                    waited = ready.batcher.admission
                    await waited.room(wish.caller)
        except BaseException as error:
            if waited is not None:
                waited.pass_on()
            if isinstance(error, TimeoutError):
                raise too_late() from None
            raise

    def _picked(self, wish: Wish) -> ReadyModel:
        if error := self.draining():
            raise error
        ready = self._repository.pick(wish.model, wish.version)
        classes = len(ready.loaded.bundle.labels)
        if wish.top_k is not None and not 1 <= wish.top_k <= classes:
            raise ServingError(Code.MALFORMED, f"top_k must be from 1 to {classes}, the number of classes.")
        return ready

    def _reserve(self, ready: ReadyModel, photos: Sequence[Photo], wish: Wish) -> list[Place]:
        work = [photo.work for photo in photos]
        places = ready.batcher.reserve(
            len(photos),
            wish.caller,
            wish.deadline_s,
            lambda images: self._decoders.ready_in_s(work[:images], wish.caller),
            wish.patient,
        )
        ready.metrics.admitted(len(photos))
        return places

    def _begin(self, ready: ReadyModel, place: Place, photo: Photo, k: int) -> "asyncio.Task[Answer]":
        """Start on one photo. Its place is given back when the task ends, which may be after its caller has left."""
        task = asyncio.create_task(self._answer(ready, place, photo, k))
        task.add_done_callback(partial(_settle, ready, place))
        return task

    async def _answer(self, ready: ReadyModel, place: Place, photo: Photo, k: int) -> Answer:
        started_s = time.monotonic()
        computed = await self._computed(ready, place, photo)
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

    async def _computed(self, ready: ReadyModel, place: Place, photo: Photo) -> Computed:
        """The engine's row for a photo: remembered, or shared with whoever asks for the same one just now."""
        if isinstance(photo.header, ServingError):
            raise photo.header.fresh()
        return ready.flights.recall(photo.digest) or await ready.flights.join(
            photo.digest, place.caller.priority, place.deadline, lambda: self._compute(ready, place, photo)
        )

    async def _compute(self, ready: ReadyModel, place: Place, photo: Photo) -> Computed:
        preprocessing = ready.loaded.bundle.manifest.preprocessing
        picture, decode_s = await self._decoders.decode(photo, preprocessing, place.caller)
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
    if isinstance(error, ServingError):
        if error.code in PER_IMAGE:
            return error.fresh()
        raise error.fresh()
    try:
        raise error
    finally:
        del error  # a frame that holds the error that went through it would be freed by the garbage collector alone
