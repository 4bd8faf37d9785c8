"""Deadline: when an answer is wanted at the latest, and the error for an answer that would come later."""

from server.errors import Code, ServingError


class Deadline:
    """A time on the monotonic clock. It is extended when a request with a later deadline waits for the same answer."""

    __slots__ = ("at_s",)

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def extend(self, at_s: float) -> None:
        """On the event loop. Lane threads read `at_s` when they bind a batch."""
        self.at_s = max(self.at_s, at_s)


def too_late() -> ServingError:
    return ServingError(Code.DEADLINE, "The answer would come after the deadline: allow more time.")
