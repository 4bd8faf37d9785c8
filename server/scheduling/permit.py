"""Permit and Queue: what the service uses of a model version's queue, in this process or in another one."""

from collections.abc import Sequence
from typing import Protocol

from bundle.images import Picture
from server.scheduling.batch import Row
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import Forecast
from server.trace import Trace


class Retired(Exception):
    """The model version answers no more requests: choose one again."""


class Permit(Protocol):
    """The right to have one image answered. It is reserved before decoding, and given back exactly once."""

    @property
    def caller(self) -> Caller: ...

    @property
    def deadline(self) -> Deadline: ...

    async def submit(self, picture: Picture, trace: Trace | None = None) -> Row:
        """The engine's answer. Never refused; raises ServingError when the engine fails, or time has run out.

        When the caller is cancelled its image leaves the queue. If a batch has the image already, this returns when
        that batch ends. `trace`: of the request, where its spans are recorded.
        """
        ...

    def release(self) -> None:
        """Give it back: the work for the image has ended. A second time is a bug, and raises RuntimeError."""
        ...


class Queue(Protocol):
    """Admits images of one model version."""

    @property
    def sick(self) -> bool:
        """Whether an engine failed so often in a row that new work is better sent elsewhere."""
        ...

    async def admit(
        self, images: int, caller: Caller, deadline_s: float, decoded: Forecast, patient: bool
    ) -> Sequence[Permit]:
        """A permit for each image, or none at all. `decoded`: when they will be ready for the engine.

        The key of the caller pays for them, if it has one. A `patient` caller waits while the queue is full or its key
        sends too fast. Raises ServingError as `Admission.take` and `Account.check` do, ENGINE_FAILED where the engine
        hangs, and Retired.
        """
        ...
