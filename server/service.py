"""Classifier: the service. Encoded photos in, predictions out. Knows deadlines and limits, and no framework."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bundle.images import Picture, Pixels
from server.answers import Classified, Inferred, answer
from server.decoding.decoders import Decoders, Photo
from server.errors import Code, ServingError
from server.exchange import Exchange
from server.lifecycle import Lifecycle
from server.metrics import GONE, OK
from server.registry.catalogue import Catalogue
from server.registry.loader import ReadyModel
from server.scheduling.batch import Row
from server.scheduling.deadline import too_late
from server.scheduling.fair_queue import Caller
from server.scheduling.permit import Permit, Retired
from server.scheduling.single_flight import Computed, Waiter, ended

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
    exchange: Exchange = field(default_factory=Exchange)


Images = Sequence[bytes] | Pixels
"""The images of one request: photos as files, or pictures that the client has decoded and framed itself."""


class Watched(Protocol):
    """What is counted of one request, because its alias has several versions or a shadow. On the event loop."""

    def computed(self, picture: Picture, row: Row) -> None:
        """The engine has answered for a picture."""
        ...

    def ended(self, outcome: str, row: Row | None) -> None:
        """One of the images has its outcome: OK, with its row, GONE or an error's code."""
        ...


Watch = Callable[[str, ReadyModel], Watched | None]
"""What is to be counted of a request for a model or alias, which this version answers; None: nothing."""


def nothing(name: str, ready: ReadyModel) -> None:
    """A Watch that counts nothing."""


class Classifier:
    """Admits, decodes and batches images, and labels the results. Runs on the event loop; decoders and engines have
    threads of their own. Cancelling `classify` or `infer` withdraws all work that no thread has begun.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        decoders: Decoders,
        lifecycle: Lifecycle,
        limits: Limits,
        watch: Watch = nothing,
    ) -> None:
        self.limits = limits
        self._watch = watch
        self._catalogue = catalogue
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
        inferred = await self.infer(encoded, options)
        ready = inferred.ready
        k = options.top_k or min(DEFAULT_TOP_K, len(ready.loaded.bundle.labels))
        return Classified(ready, [answer(ready, image, k) for image in inferred.images])

    async def infer(self, images: Images, options: RequestOptions) -> Inferred:
        """Run the network on the images of one request. Raises as `classify` does."""
        if len(images) > self.limits.max_images:
            raise ServingError(
                Code.MALFORMED, f"{len(images)} images in one request: send at most {self.limits.max_images}."
            )
        self._choose_model(options)  # before any work, so that a request for an unknown model fails at once
        try:
            async with asyncio.timeout_at(options.deadline_s) as timeout:
                inputs = await self._examine(images, options.caller)
                ready, permits = await self._admit(inputs, options)
                watched = self._watch(options.model, ready)
                waiters = [
                    self._begin(ready, permit, each, watched) for permit, each in zip(permits, inputs, strict=True)
                ]
                try:
                    for waiter in waiters:
                        await waiter
                finally:
                    _count(ready, waiters, Code.DEADLINE if timeout.expired() else GONE, watched)
        except TimeoutError:
            raise too_late() from None
        return Inferred(ready, waiters)

    @asynccontextmanager
    async def admitted(self, photo: bytes, options: RequestOptions) -> AsyncIterator[ReadyModel]:
        """Admits one photo that is worked on in the body of the context, and not by the engine.

        Raises ServingError as `classify` does, and cancels the body at the deadline.
        """
        self._choose_model(options)
        try:
            async with asyncio.timeout_at(options.deadline_s) as timeout:
                (examined,) = await self._decoders.examine([photo], options.caller)
                if isinstance(examined.header, ServingError):
                    raise examined.header.fresh()
                ready, (permit,) = await self._admit([examined], options)
                outcome: str = Code.INTERNAL
                try:
                    yield ready
                    outcome = OK
                except ServingError as error:
                    outcome = error.code
                    raise
                except asyncio.CancelledError:
                    outcome = Code.DEADLINE if timeout.expired() else GONE
                    raise
                finally:
                    permit.release()
                    ready.metrics.outcome(outcome)
        except TimeoutError:
            raise too_late() from None

    async def _examine(self, images: Images, caller: Caller) -> Sequence[Photo] | Pixels:
        return images if isinstance(images, np.ndarray) else await self._decoders.examine(images, caller)

    async def _admit(
        self, inputs: Sequence[Photo] | Pixels, options: RequestOptions
    ) -> tuple[ReadyModel, Sequence[Permit]]:
        work = [0.0 if isinstance(each, np.ndarray) else each.work for each in inputs]
        decoded = self._decoders.forecast(work, options.caller)
        while True:
            ready = self._choose_model(options)
            if isinstance(inputs, np.ndarray):
                _check_size(ready, inputs)
            try:
                permits = await ready.queue.admit(
                    len(inputs), options.caller, options.deadline_s, decoded, options.patient
                )
            except Retired:
                continue
            except ServingError as error:
                ready.metrics.refused(error.code, len(inputs))
                raise
            ready.metrics.admitted(len(inputs))
            return ready, permits

    def _choose_model(self, options: RequestOptions) -> ReadyModel:
        if error := self.draining():
            raise error
        ready = self._catalogue.pick(options.model, options.version, options.exchange.identity)
        classes = len(ready.loaded.bundle.labels)
        if options.top_k is not None and not 1 <= options.top_k <= classes:
            raise ServingError(Code.MALFORMED, f"top_k must be from 1 to {classes}, the number of classes.")
        return ready

    def _begin(self, ready: ReadyModel, permit: Permit, image: Photo | Picture, watched: Watched | None) -> Waiter:
        """Start on one image. Its permit is given back when its work has ended, which may be after its caller left."""
        if isinstance(image, np.ndarray):
            return ready.single_flight.alone(permit, lambda: self._compute(ready, permit, image, 0.0, watched))
        if isinstance(image.header, ServingError):
            return ended(permit, image.header)
        return ready.single_flight.join(
            image.digest, permit, lambda: self._decode_and_compute(ready, permit, image, watched)
        )

    async def _decode_and_compute(
        self, ready: ReadyModel, permit: Permit, photo: Photo, watched: Watched | None
    ) -> Computed:
        preprocessing = ready.loaded.bundle.manifest.preprocessing
        picture, decode_s = await self._decoders.decode(photo, preprocessing, permit.caller)
        ready.metrics.took("decode", decode_s)
        return await self._compute(ready, permit, picture, decode_s, watched)

    async def _compute(
        self, ready: ReadyModel, permit: Permit, picture: Picture, decode_s: float, watched: Watched | None
    ) -> Computed:
        row = await permit.submit(picture)
        ready.metrics.took("queue", row.queue_s)
        ready.metrics.took("infer", row.infer_s)
        if watched:
            watched.computed(picture, row)
        return Computed(row, decode_s)


def _check_size(ready: ReadyModel, pixels: Pixels) -> None:
    wanted = ready.loaded.bundle.manifest.preprocessing
    if pixels.shape[1:3] != (wanted.height, wanted.width):
        raise ServingError(
            Code.MALFORMED,
            f"The pixels have {pixels.shape[1]} rows of {pixels.shape[2]}: this model takes "
            f"{wanted.height} rows of {wanted.width}.",
        )


def _count(ready: ReadyModel, images: Sequence[Waiter], left: str, watched: Watched | None) -> None:
    """Count the outcome of each image; those without one are left now, for the reason `left`."""
    for image in images:
        image.cancel()
        outcome, row = _outcome(image, left)
        ready.metrics.outcome(outcome)
        if row:
            ready.metrics.took("total", image.seconds)
        if watched:
            watched.ended(outcome, row)


def _outcome(image: Waiter, left: str) -> tuple[str, Row | None]:
    if image.cancelled():
        return left, None
    if image.exception():
        return Code.INTERNAL, None
    result = image.result()
    return (result.code, None) if isinstance(result, ServingError) else (OK, result.row)
