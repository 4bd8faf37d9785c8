"""Classifier: the service. Encoded photos in, predictions out. Knows deadlines and limits, and no framework."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bundle import predictions
from bundle.predictions import Prediction, Vote
from server.decoding.decoders import Decoders, Photo
from server.errors import PER_IMAGE, Code, ServingError
from server.lifecycle import Lifecycle
from server.metrics import GONE, OK
from server.registry.loader import ReadyModel
from server.registry.repository import Repository
from server.scheduling.admission import Admission
from server.scheduling.batcher import Permit
from server.scheduling.deadline import too_late
from server.scheduling.fair_queue import Caller
from server.scheduling.single_flight import Computed

DEFAULT_TOP_K = 5


@dataclass(frozen=True)
class Limits:
    """What one request may ask for. `default_timeout_s` holds for requests that set no deadline."""

    max_image_bytes: int
    max_request_bytes: int
    max_images: int
    default_timeout_s: float
    max_timeout_s: float


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What a request asks for besides its photos.

    `deadline_s` is on the monotonic clock, which is the event loop's. Where a request is refused with QUEUE_FULL, a
    `patient` one waits for permits instead. Without `top_k` the answer has five classes, or all if there are
    fewer.
    """

    deadline_s: float
    caller: Caller
    model: str = ""
    version: str = ""
    top_k: int | None = None
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One photo's predictions, the vote on its group (None if the labels have no groups), its times and its batch.

    `decode_ms`: from the encoded photo to pixels; `queue_ms`: from pixels to the start of the batch; `infer_ms`: the
    whole batch in the engine; `total_ms`: from admission to the answer. `batch`: images in that batch; 0 for an answer
    that was remembered.
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
    """The outcome of each photo of a request, in the order of the request, and the model that answered."""

    ready: ReadyModel
    outcomes: list[Answer | ServingError]

    @property
    def model(self) -> str:
        return self.ready.loaded.bundle.manifest.name

    @property
    def version(self) -> str:
        return self.ready.loaded.bundle.manifest.version


class Classifier:
    """Admits, decodes and batches photos, and labels the results. Runs on the event loop; decoders and engines have
    threads of their own. Cancelling `classify` withdraws all work that no thread has begun.
    """

    def __init__(self, repository: Repository, decoders: Decoders, lifecycle: Lifecycle, limits: Limits) -> None:
        self.limits = limits
        self._repository = repository
        self._decoders = decoders
        self._lifecycle = lifecycle

    def deadline_s(self, timeout_s: float | None) -> float:
        """When a request that begins now must be answered, on the monotonic clock.

        `timeout_s` is what the client wants, None if it does not say. Above the limit it is shortened: a gRPC deadline
        is for the client's own use, and may be far away. REST rejects such a request before.
        """
        wanted_s = self.limits.default_timeout_s if timeout_s is None else min(timeout_s, self.limits.max_timeout_s)
        return time.monotonic() + wanted_s

    def draining(self) -> ServingError | None:
        """The error of a request that comes while the server drains; None while new work is accepted."""
        if self._lifecycle.accepting:
            return None
        return ServingError(Code.DRAINING, "This server is shutting down: send the request again.", retry_after_s=1)

    async def classify(self, encoded: Sequence[bytes], options: RequestOptions) -> Classified:
        """Classify the photos of one request.

        Raises ServingError for an error of the whole request. An error of one photo is that photo's outcome.
        """
        if len(encoded) > self.limits.max_images:
            raise ServingError(
                Code.MALFORMED, f"{len(encoded)} images in one request: send at most {self.limits.max_images}."
            )
        self._choose_model(options)  # before any work, so that a request for an unknown model fails at once
        photos = await self._examine(encoded, options)
        ready, permits = await self._admit(photos, options)
        k = options.top_k or min(DEFAULT_TOP_K, len(ready.loaded.bundle.labels))
        tasks = [self._begin(ready, permit, photo, k) for permit, photo in zip(permits, photos, strict=True)]
        outcome = GONE
        try:
            async with asyncio.timeout_at(options.deadline_s):
                await asyncio.wait(tasks)
        except TimeoutError:
            outcome = Code.DEADLINE
            raise too_late() from None
        finally:
            for task in tasks:
                if task.cancel():
                    ready.metrics.outcome(outcome)
        return Classified(ready, [_outcome(task) for task in tasks])

    async def _examine(self, encoded: Sequence[bytes], options: RequestOptions) -> list[Photo]:
        try:
            async with asyncio.timeout_at(options.deadline_s):
                return await self._decoders.examine(encoded, options.caller)
        except TimeoutError:
            raise too_late() from None

    async def _admit(self, photos: Sequence[Photo], options: RequestOptions) -> tuple[ReadyModel, list[Permit]]:
        waited: Admission | None = None
        try:
            async with asyncio.timeout_at(options.deadline_s):
                while True:
                    ready = self._choose_model(options)
                    try:
                        return ready, self._reserve(ready, photos, options)
                    except ServingError as error:
                        if error.code is not Code.QUEUE_FULL or not options.patient:
                            ready.metrics.refused(error.code, len(photos))
                            raise
                    waited = ready.batcher.admission
                    await waited.wait_for_permit(options.caller)
        except BaseException as error:
            if waited is not None:
                waited.pass_on()
            if isinstance(error, TimeoutError):
                raise too_late() from None
            raise

    def _choose_model(self, options: RequestOptions) -> ReadyModel:
        if error := self.draining():
            raise error
        ready = self._repository.pick(options.model, options.version)
        classes = len(ready.loaded.bundle.labels)
        if options.top_k is not None and not 1 <= options.top_k <= classes:
            raise ServingError(Code.MALFORMED, f"top_k must be from 1 to {classes}, the number of classes.")
        return ready

    def _reserve(self, ready: ReadyModel, photos: Sequence[Photo], options: RequestOptions) -> list[Permit]:
        work = [photo.work for photo in photos]
        permits = ready.batcher.reserve(
            len(photos),
            options.caller,
            options.deadline_s,
            lambda images: self._decoders.ready_in_s(work[:images], options.caller),
            options.patient,
        )
        ready.metrics.admitted(len(photos))
        return permits

    def _begin(self, ready: ReadyModel, permit: Permit, photo: Photo, k: int) -> "asyncio.Task[Answer]":
        """Start on one photo. Its permit is given back when the task ends, which may be after its caller has left."""
        task = asyncio.create_task(self._answer(ready, permit, photo, k))
        task.add_done_callback(partial(_settle, ready, permit))
        return task

    async def _answer(self, ready: ReadyModel, permit: Permit, photo: Photo, k: int) -> Answer:
        started_s = time.monotonic()
        computed = await self._computed(ready, permit, photo)
        row, bundle = computed.row, ready.loaded.bundle
        best = predictions.top(row.probabilities, bundle.labels, k)
        vote = predictions.vote(row.probabilities, bundle.labels) if bundle.has_groups else None
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

    async def _computed(self, ready: ReadyModel, permit: Permit, photo: Photo) -> Computed:
        """The engine's row for a photo: remembered, or shared with other requests for the same photo, or computed."""
        if isinstance(photo.header, ServingError):
            raise photo.header.fresh()
        return ready.single_flight.recall(photo.digest) or await ready.single_flight.join(
            photo.digest, permit.caller.priority, permit.deadline, lambda: self._compute(ready, permit, photo)
        )

    async def _compute(self, ready: ReadyModel, permit: Permit, photo: Photo) -> Computed:
        preprocessing = ready.loaded.bundle.manifest.preprocessing
        picture, decode_s = await self._decoders.decode(photo, preprocessing, permit.caller)
        ready.metrics.took("decode", decode_s)
        row = await permit.submit(picture)
        ready.metrics.took("queue", row.queue_s)
        ready.metrics.took("infer", row.infer_s)
        return Computed(row, decode_s)


def _settle(ready: ReadyModel, permit: Permit, task: "asyncio.Task[Answer]") -> None:
    permit.release()
    if not task.cancelled():  # a cancelled one was counted by `classify`
        error = task.exception()
        code = error.code if isinstance(error, ServingError) else Code.INTERNAL
        ready.metrics.outcome(OK if error is None else code)


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
        del error  # else frame and error hold each other, until the garbage collector comes
