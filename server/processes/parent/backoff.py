"""Backoff: how long to wait before a child that has ended is started again."""

_FIRST_S = 0.1
_STABLE_S = 2.0


class Backoff:
    """Nothing for a child that lived at least 2 s; else 0.1 s, and twice as long each time one lives shorter again."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = _FIRST_S

    def pause_s(self, lived_s: float) -> float:
        """Call it once for each ending."""
        if lived_s >= _STABLE_S:
            self._next_s = _FIRST_S
            return 0.0
        pause_s = min(self._next_s, self._longest_s)
        self._next_s = 2 * pause_s
        return pause_s
