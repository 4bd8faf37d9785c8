"""Asked: an image whose caller awaits its answer in this process."""

import asyncio
from collections.abc import Callable
from typing import Any

from bundle.images import Picture
from server.errors import ServingError
from server.scheduling.batch import Item, Row
from server.scheduling.deadline import Deadline
from server.scheduling.fair_queue import Caller


class Asked(Item, asyncio.Future[Row]):
    """The item is the future of its answer.

    To cancel it takes it out of its queue. An image that a batch has is not cancelled but abandoned: whoever awaits it
    is cancelled when the batch has ended.
    """

    def __init__(self, picture: Picture, caller: Caller, deadline: Deadline, withdraw: Callable[[Item], bool]) -> None:
        """`withdraw` takes the item out of its queue; it returns False where a batch has it."""
        Item.__init__(self, picture, caller, deadline)
        asyncio.Future.__init__(self)
        self._withdraw = withdraw

    def answer(self, row: Row) -> None:
        if not self.done():
            self.set_result(row)

    def fail(self, error: ServingError) -> None:
        if not self.done():
            self.set_exception(error)

    def cancel(self, msg: Any | None = None) -> bool:
        if self._withdraw(self):
            return super().cancel(msg)
        self.abandon()
        return False
