"""Answers: what a request is answered, image by image, and the model that answered it."""

from collections.abc import Sequence
from dataclasses import dataclass

from bundle import predictions
from bundle.predictions import Prediction, Probabilities, Vote
from server.errors import PER_IMAGE, ServingError
from server.registry.loader import ReadyModel
from server.scheduling.single_flight import Computed, Waiter


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


@dataclass(frozen=True, slots=True)
class Inferred:
    """The outcome of each image of a request, in the order of the request, and the model that computed it."""

    ready: ReadyModel
    images: Sequence[Waiter]

    def probabilities(self) -> list[Probabilities]:
        """Of each image, (classes,). Raises the ServingError of the first image that has none."""
        return [self._computed(number).row.probabilities for number in range(len(self.images))]

    def _computed(self, number: int) -> Computed:
        outcome = self.images[number].result()
        if not isinstance(outcome, ServingError):
            return outcome
        if outcome.code in PER_IMAGE and len(self.images) > 1:
            raise ServingError(outcome.code, f"Image {number}: {outcome.detail}")
        raise outcome.fresh()


def answer(ready: ReadyModel, image: Waiter, k: int) -> Answer | ServingError:
    """The outcome of an image that has one. Raises the ServingError of what makes the whole request fail."""
    outcome = image.result()
    if isinstance(outcome, ServingError):
        if outcome.code in PER_IMAGE:
            return outcome
        raise outcome.fresh()
    row, bundle = outcome.row, ready.loaded.bundle
    return Answer(
        predictions=predictions.top(row.probabilities, bundle.labels, k),
        vote=predictions.vote(row.probabilities, bundle.labels) if bundle.has_groups else None,
        decode_ms=outcome.decode_s * 1e3,
        queue_ms=row.queue_s * 1e3,
        infer_ms=row.infer_s * 1e3,
        total_ms=image.seconds * 1e3,
        batch=row.batch,
    )
