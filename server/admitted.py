"""Admitted: a request that has its permits, and who is told what becomes of its images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bundle.images import Picture
from server.errors import Code, ServingError
from server.exchange import Exchange
from server.metrics import OK
from server.registry.loader import ReadyModel
from server.scheduling.batch import Row
from server.scheduling.single_flight import Computed, Waiter


class Observer(Protocol):
    """What is counted of one request, because its alias has several versions or a shadow. On the event loop."""

    def computed(self, picture: Picture, row: Row) -> None:
        """The engine has answered for a picture."""
        ...

    def ended(self, outcome: str, row: Row | None) -> None:
        """One of the images has its outcome: OK, with its row, GONE or an error's code."""
        ...


Observe = Callable[[str, ReadyModel], Observer | None]
"""What is to be counted of a request for a model or alias, which this version answers; None: nothing."""


def nothing(name: str, ready: ReadyModel) -> None:
    """An Observe that counts nothing."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that has its permits: the model that answers it, and where is noted what becomes of its images."""

    ready: ReadyModel
    exchange: Exchange
    observer: Observer | None

    def count(self, images: Sequence[Waiter], left: str) -> None:
        """Count and note the outcome of each image; those without one are left now, for the reason `left`."""
        for image in images:
            image.cancel()
            outcome, computed = _outcome(image, left)
            self.ready.metrics.outcome(outcome)
            if self.exchange.key:
                self.ready.metrics.outcome_of_key(self.exchange.key.name, outcome)
            if computed:
                self.ready.metrics.took("total", image.seconds)
                self._note(computed)
            else:
                self.exchange.failed += 1
            if self.observer:
                self.observer.ended(outcome, computed.row if computed else None)

    def _note(self, computed: Computed) -> None:
        row, exchange = computed.row, self.exchange
        exchange.computed(computed.decode_s, row.queue_s, row.infer_s, row.batch)
        if computed.trace and computed.trace is not exchange.trace and exchange.recorded:
            exchange.shared.append(computed.trace)


def _outcome(image: Waiter, left: str) -> tuple[str, Computed | None]:
    if image.cancelled():
        return left, None
    if image.exception():
        return Code.INTERNAL, None
    found = image.result()
    return (found.code, None) if isinstance(found, ServingError) else (OK, found)
