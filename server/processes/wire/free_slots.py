"""FreeSlots: which slots of its region a front may use."""

from collections.abc import Iterable


class FreeSlots:
    """The slot that was given back last is taken first, so that few of them ever take memory."""

    def __init__(self, slots: int) -> None:
        self._free = list(range(slots))[::-1]
        self._taken: set[int] = set()

    def __len__(self) -> int:
        """How many are free."""
        return len(self._free)

    def take(self, count: int) -> list[int] | None:
        """So many slots (one or more), or None where fewer are free."""
        if count < 1:
            raise ValueError(f"{count} slots cannot be taken.")
        if count > len(self._free):
            return None
        taken = self._free[: -count - 1 : -1]
        del self._free[-count:]
        self._taken.update(taken)
        return taken

    def give_back(self, slots: Iterable[int]) -> None:
        """Raises RuntimeError where one is not taken: two images would share it."""
        for slot in slots:
            if slot not in self._taken:
                raise RuntimeError(f"Slot {slot} was given back, but it is not taken. This is a bug.")
            self._taken.remove(slot)
            self._free.append(slot)
