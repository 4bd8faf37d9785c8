"""Classifier: the service. Encoded photos in, predictions out. Knows deadlines and limits, and no framework."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from bundle.images import Picture, Pixels
from server.admitted import Admitted, Observe, nothing
from server.answers import Classified, Inferred, answer
from server.decoding.decoders import Decoders, Photo
from server.errors import Code, ServingError
from server.exchange import Exchange
from server.keys.access import Access
from server.keys.key import Key
from server.lifecycle import Lifecycle
from server.metrics import GONE, OK
from server.registry.allowed import seen_by
from server.registry.catalogue import Catalogue
from server.registry.loader import ReadyModel
from server.scheduling.deadline import too_late
from server.scheduling.fair_queue import Caller
from server.scheduling.key_callers import KeyCallers
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
        access: Access | None = None,
        callers: KeyCallers | None = None,
        observe: Observe = nothing,
    ) -> None:
        """`access` hears of keys that have spent all. `callers`: those of the keys."""
        self.limits = limits
        self._access = access
        self._callers = callers or KeyCallers()
        self._observe = observe
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
        exchange = options.exchange
        exchange.images = len(images)
        self._choose_model(options)  # before any work, so that a request for an unknown model fails at once
        caller = self._caller(options)
        try:
            async with asyncio.timeout_at(options.deadline_s) as timeout:
                inputs = await self._examine(images, caller)
                ready, permits = await self._admit(inputs, caller, options)
                admitted = Admitted(ready, exchange, self._observe(options.model, ready))
                waiters = [self._begin(admitted, permit, each) for permit, each in zip(permits, inputs, strict=True)]
                try:
                    for waiter in waiters:
                        await waiter
                finally:
                    admitted.count(waiters, Code.DEADLINE if timeout.expired() else GONE)
        except TimeoutError:
            raise too_late() from None
        return Inferred(ready, waiters)

    @asynccontextmanager
    async def admitted(self, photo: bytes, options: RequestOptions) -> AsyncIterator[ReadyModel]:
        """Admits one photo that is worked on in the body of the context, and not by the engine.

        Raises ServingError as `classify` does, and cancels the body at the deadline.
        """
        self._choose_model(options)
        caller = self._caller(options)
        try:
            async with asyncio.timeout_at(options.deadline_s) as timeout:
                (examined,) = await self._decoders.examine([photo], caller)
                if isinstance(examined.header, ServingError):
                    raise examined.header.fresh()
                options.exchange.images = 1
                ready, (permit,) = await self._admit([examined], caller, options)
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
                    if options.exchange.key:
                        ready.metrics.outcome_of_key(options.exchange.key.name, outcome)
        except TimeoutError:
            raise too_late() from None

    async def _examine(self, images: Images, caller: Caller) -> Sequence[Photo] | Pixels:
        return images if isinstance(images, np.ndarray) else await self._decoders.examine(images, caller)

    def _caller(self, options: RequestOptions) -> Caller:
        """All requests of a key with the same priority are one caller, whatever face and connection they come by."""
        key = options.exchange.key
        return options.caller if key is None else self._callers.of(key.name, options.caller.priority)

    async def _admit(
        self, inputs: Sequence[Photo] | Pixels, caller: Caller, options: RequestOptions
    ) -> tuple[ReadyModel, Sequence[Permit]]:
        work = [0.0 if isinstance(each, np.ndarray) else each.work for each in inputs]
        decoded = self._decoders.forecast(work, caller)
        while True:
            ready = self._choose_model(options)
            if isinstance(inputs, np.ndarray):
                _check_size(ready, inputs)
            try:
                permits = await ready.queue.admit(len(inputs), caller, options.deadline_s, decoded, options.patient)
            except Retired:
                continue
            except ServingError as error:
                ready.metrics.refused(error.code, len(inputs))
                if options.exchange.key:
                    self._refused(ready, options.exchange.key, error, len(inputs))
                raise
            ready.metrics.admitted(len(inputs))
            manifest = ready.loaded.bundle.manifest
            options.exchange.model, options.exchange.version = manifest.name, manifest.version
            return ready, permits

    def _refused(self, ready: ReadyModel, key: Key, error: ServingError, images: int) -> None:
        ready.metrics.refused_of_key(key.name, error.code, images)
        if self._access and error.code is Code.RATE_LIMITED and error.retry_after_s and images == 1:
            self._access.note_spent(key, error.retry_after_s)

    def _choose_model(self, options: RequestOptions) -> ReadyModel:
        if error := self.draining():
            raise error
        exchange = options.exchange
        catalogue = seen_by(self._catalogue, exchange.key)
        ready = catalogue.pick(options.model, options.version, exchange.identity)
        classes = len(ready.loaded.bundle.labels)
        if options.top_k is not None and not 1 <= options.top_k <= classes:
            raise ServingError(Code.MALFORMED, f"top_k must be from 1 to {classes}, the number of classes.")
        return ready

    def _begin(self, admitted: Admitted, permit: Permit, image: Photo | Picture) -> Waiter:
        """Start on one image. Its permit is given back when its work has ended, which may be after its caller left."""
        single_flight = admitted.ready.single_flight
        if isinstance(image, np.ndarray):
            return single_flight.alone(permit, lambda: self._compute(admitted, permit, image, 0.0))
        if isinstance(image.header, ServingError):
            return ended(permit, image.header)
        return single_flight.join(image.digest, permit, lambda: self._decode_and_compute(admitted, permit, image))

    async def _decode_and_compute(self, admitted: Admitted, permit: Permit, photo: Photo) -> Computed:
        ready, exchange = admitted.ready, admitted.exchange
        preprocessing = ready.loaded.bundle.manifest.preprocessing
        decoded = await self._decoders.decode(photo, preprocessing, permit.caller)
        ready.metrics.took("decode", decoded.seconds)
        if exchange.recorded:
            exchange.spans.append(("decode", decoded.began_at_s, decoded.began_at_s + decoded.seconds))
        return await self._compute(admitted, permit, decoded.picture, decoded.seconds)

    async def _compute(self, admitted: Admitted, permit: Permit, picture: Picture, decode_s: float) -> Computed:
        trace = admitted.exchange.recorded
        row = await permit.submit(picture, trace)
        admitted.ready.metrics.took("queue", row.queue_s)
        admitted.ready.metrics.took("infer", row.infer_s)
        if admitted.observer:
            admitted.observer.computed(picture, row)
        return Computed(row, decode_s, trace)


def _check_size(ready: ReadyModel, pixels: Pixels) -> None:
    wanted = ready.loaded.bundle.manifest.preprocessing
    if pixels.shape[1:3] != (wanted.height, wanted.width):
        raise ServingError(
            Code.MALFORMED,
            f"The pixels have {pixels.shape[1]} rows of {pixels.shape[2]}: this model takes "
            f"{wanted.height} rows of {wanted.width}.",
        )
