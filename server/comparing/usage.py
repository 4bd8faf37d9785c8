"""Usage: what one version answered to its callers of an alias."""

from bisect import bisect_left
from collections import Counter

from bundle.predictions import Probabilities
from server.registry.loader import ReadyModel
from server.scheduling.batch import Row

EDGES_S = tuple(0.0005 * 2 ** (step / 4) for step in range(65))
"""From half a millisecond to 33 s; each is 1.19 times the one before."""

OTHER_CLASSES = ""
_MOST_CLASSES = 1000


class Classes:
    """Those that are counted one by one for an alias: the first thousand that its versions name."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def name(self, label: str) -> str:
        """The label, or OTHER_CLASSES where there are too many."""
        if label not in self._known and len(self._known) >= _MOST_CLASSES:
            return OTHER_CLASSES
        self._known.add(label)
        return label


class Usage:
    """Of one version. `seconds`: images by the time that they waited for the engine and took in it."""

    def __init__(self, ready: ReadyModel, classes: Classes) -> None:
        self._labels = _ids(ready)
        self._ready = ready
        self._classes = classes
        self.outcomes: Counter[str] = Counter()
        self.top1: Counter[str] = Counter()
        self.seconds = [0] * (len(EDGES_S) + 1)
        self.total_s = 0.0

    def is_of(self, ready: ReadyModel) -> bool:
        """Whether this load of the version has the same classes."""
        if self._ready is not ready and self._labels == _ids(ready):
            self._ready = ready
        return self._ready is ready

    def add(self, outcome: str, row: Row | None) -> None:
        """One image has its outcome; those that were answered have a row."""
        self.outcomes[outcome] += 1
        if row is None:
            return
        self.top1[self._classes.name(self._best(row.probabilities))] += 1
        if row.batch:  # an answer that was remembered took no time
            took_s = row.queue_s + row.infer_s
            self.seconds[bisect_left(EDGES_S, took_s)] += 1
            self.total_s += took_s

    def _best(self, row: Probabilities) -> str:
        return self._labels[int(row.argmax())]


def _ids(ready: ReadyModel) -> list[str]:
    return [label.id for label in ready.loaded.bundle.labels]
