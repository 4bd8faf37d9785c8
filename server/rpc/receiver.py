"""MessageReceiver: receives and parses the messages of calls."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import grpc

from server.errors import Code, ServingError
from server.receiving import Receipt, ReceiveBudget
from server.rpc.status import Context
from server.scheduling.threads import Threads
from server.service import Classifier

Parsed = TypeVar("Parsed")

_ON_LOOP_BYTES = 1 << 20  # a larger message is parsed in a thread


class MessageReceiver:
    """On the event loop. A message is received only when there is room for the largest one allowed, because gRPC says
    how large a message is only when it is whole.
    """

    def __init__(self, classifier: Classifier, budget: ReceiveBudget, aside: Threads, max_bytes: int) -> None:
        """`aside` parses large messages; `max_bytes` is the size of the largest message allowed."""
        self._classifier = classifier
        self._budget = budget
        self._aside = aside
        self.max_bytes = max_bytes
        self._receiving: set[asyncio.Timeout] = set()

    async def receive(
        self, context: Context, receipt: Receipt, deadline_s: float, parse: Callable[[bytes], Parsed]
    ) -> Parsed:
        """The one message of a call, for which `receipt` then holds its size. Raises ServingError."""
        serialized = await self._serialized(context, receipt, deadline_s)
        if serialized is None:
            raise ServingError(Code.MALFORMED, "The call has no message: send one.")
        receipt.grow(len(serialized))
        return await self.parse(serialized, parse)

    async def parse(self, serialized: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
        """What `parse` returns or raises; a large message is parsed in a thread."""
        if len(serialized) > _ON_LOOP_BYTES:
            return await self._aside.run(parse, serialized)
        return parse(serialized)

    def end_receiving(self) -> None:
        """Reject the messages that are still being received, because the server drains."""
        for timeout in self._receiving:
            timeout.reschedule(0)

    async def _serialized(self, context: Context, receipt: Receipt, deadline_s: float) -> bytes | None:
        """The message; None if the client sends none."""
        gave_way = False

        def give_way() -> None:
            nonlocal gave_way
            gave_way = True
            timeout.reschedule(0)

        try:
            async with asyncio.timeout_at(deadline_s) as timeout:
                self._receiving.add(timeout)
                await self._budget.promise(receipt, self.max_bytes, give_way)
                serialized = await context.read()
                return None if serialized is grpc.aio.EOF else serialized
        except TimeoutError:
            raise self._classifier.draining() or _was_slow(gave_way) from None
        finally:
            self._receiving.discard(timeout)
            self._budget.redeem(receipt)


def _was_slow(gave_way: bool) -> ServingError:
    if gave_way:
        return ServingError(
            Code.QUEUE_FULL, "The message came slowly while others had no room: send it again.", retry_after_s=1
        )
    return ServingError(Code.DEADLINE, "The message did not come before the deadline: allow more time.")
