"""Held: a permit that a front holds, and its image while the core works on it. On the event loop of the core."""

from typing import Protocol

from server.errors import ServingError
from server.processes.wire.region import Region
from server.scheduling.batch import Item, Row
from server.scheduling.batcher import Batcher
from server.scheduling.permit import Permit


class Held:
    """A permit of the front, in the slot that names it. `item`: its image while it is not answered.

    `used`: an image was submitted. A permit is for one image.
    """

    __slots__ = ("batcher", "item", "permit", "shape", "used")

    def __init__(self, permit: Permit, batcher: Batcher, shape: tuple[int, int]) -> None:
        self.permit = permit
        self.batcher = batcher
        self.shape = shape
        self.item: SlotItem | None = None
        self.used = False


class Recipient(Protocol):
    """The front whose image it is."""

    region: Region

    def answer(self, slot: int, held: Held, row: Row) -> None: ...

    def fail(self, slot: int, held: Held, error: ServingError) -> None: ...


class SlotItem(Item):
    """An image in a slot. Its row goes there."""

    def __init__(self, recipient: Recipient, slot: int, held: Held) -> None:
        picture = recipient.region.picture(slot, *held.shape)
        super().__init__(picture, held.permit.caller, held.permit.deadline)
        self._recipient = recipient
        self._slot = slot
        self._held = held

    def answer(self, row: Row) -> None:
        if self._held.item is self:
            self._held.item = None
            self._recipient.answer(self._slot, self._held, row)

    def fail(self, error: ServingError) -> None:
        if self._held.item is self:
            self._held.item = None
            self._recipient.fail(self._slot, self._held, error)
