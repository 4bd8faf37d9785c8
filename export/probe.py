"""Probe: scores a checkpoint on labelled photos, as given and in the other plausible ways, and names the fault."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bundle import labelsets
from bundle.images import Pixels
from bundle.labels import Label
from export import labelled
from export.graph import ServedNetwork
from export.guess import Guess
from export.labelled import LabelledPhoto
from export.progress import Progress
from export.proof import torch_probabilities
from export.wishes import Wishes, preprocessing
from models.errors import CheckpointError
from models.trained import Trained, understand

MOST = 200
"""Photos to score on where the user does not say: a fault of 6 points then shows."""

_ROUNDS = 3  # faults at once that are looked for


@dataclass(frozen=True)
class Score:
    """How often a guess is right; `hits` says of each photo whether the best class is its own."""

    guess: Guess
    hits: NDArray[np.bool_]
    top5: float

    @property
    def top1(self) -> float:
        return float(self.hits.mean())

    def beats(self, other: "Score") -> bool:
        """Whether the difference is more than chance: McNemar's test at two standard errors, on the same photos."""
        gained = int((self.hits & ~other.hits).sum())
        lost = int((other.hits & ~self.hits).sum())
        return gained - lost > max(2 * (gained + lost) ** 0.5, 2)


@dataclass(frozen=True)
class Report:
    """All that was scored, best first, and the guess as the user gave it."""

    given: Score
    scores: tuple[Score, ...]

    @property
    def best(self) -> Score:
        """Of those that the highest score does not surely beat, the one nearest to what was given."""
        equals = [score for score in self.scores if not self.scores[0].beats(score)]
        return min(equals, key=lambda score: (len(score.guess.beside(self.given.guess)), -score.top1))

    def verdict(self) -> str:
        """The fault in a sentence, with its cure."""
        found, given = self.best, self.given
        if found is given:
            return f"{given.top1:.1%} as given, and nothing that was tried is surely better."
        words = " and ".join(found.guess.beside(given.guess))
        options = " ".join(found.guess.options(given.guess))
        return f"{given.top1:.1%} as given, {found.top1:.1%} with {words}. Convert with: {options}"

    def table(self, rows: int = 12) -> str:
        """The best guesses, a line each."""
        lines = [f"{'top-1':>7} {'top-5':>7}  difference from what was given"]
        for score in self.scores[:rows]:
            words = ", ".join(score.guess.beside(self.given.guess)) or "as given"
            lines.append(f"{score.top1:7.1%} {score.top5:7.1%}  {words}")
        return "\n".join(lines)

    def to_json(self) -> str:
        rows = [
            {
                "top1": score.top1,
                "top5": score.top5,
                "difference": score.guess.beside(self.given.guess),
                "options": score.guess.options(self.given.guess),
            }
            for score in self.scores
        ]
        return json.dumps({"photos": len(self.given.hits), "verdict": self.verdict(), "guesses": rows}, indent=2)


def probe(path: Path, folder: Path, wishes: Wishes, most: int, progress: Progress) -> Report:
    """Score a checkpoint on the labelled photos under a folder.

    From the guess that was given it goes to the best that differs in one thing, as long as that is surely better.
    Raises CheckpointError, BundleError or ExportError.
    """
    trained = _variant_or_first(path, wishes)
    name, table = wishes.label_table(trained)
    photos = labelled.find(folder, table, most)
    runner = _Runner(trained, photos, _orders(name, table), progress)
    given, *scored = runner.scores(Guess(trained.design.traits, wishes.fit(trained.fit), name))
    best, rest = given, list(scored)
    for _ in range(_ROUNDS):
        found = [score for other in _around(best.guess, [given, *rest]) for score in runner.scores(other)]
        rest += found
        ahead = max(rest, key=lambda score: (score.top1, score.top5))
        if not ahead.beats(best):
            break
        best = ahead
    ranked = sorted([given, *rest], key=lambda s: (-s.top1, len(s.guess.beside(given.guess)), -s.top5))
    return Report(given, tuple(ranked))


class _Runner:
    """Scores guesses, each on all photos, under every order of classes at once."""

    def __init__(
        self, trained: Trained, photos: Sequence[LabelledPhoto], orders: Mapping[str, Sequence[str]], progress: Progress
    ) -> None:
        self._trained, self._photos, self._orders, self._progress = trained, photos, orders, progress
        self._networks: dict[str | None, nn.Module] = {}
        self._pixels: dict[object, Pixels] = {}

    def scores(self, guess: Guess) -> list[Score]:
        """The guess under its own order of classes first, then under the others."""
        fit = guess.fit
        served = ServedNetwork(self._network(guess), fit.mean, fit.std, fit.bgr).eval()
        self._progress.step(f"trying {guess.traits.variant or ''} {'BGR' if fit.bgr else 'RGB'}".replace("  ", " "))
        answers = torch_probabilities(served, self._prepared(guess), self._progress.advance)
        order = np.argsort(-answers, axis=1, kind="stable")[:, :5]
        names = [guess.order, *(name for name in self._orders if name != guess.order)]
        return [self._score(dataclasses.replace(guess, order=name), order) for name in names]

    def _score(self, guess: Guess, order: NDArray[np.int64]) -> Score:
        place = {id: index for index, id in enumerate(self._orders[guess.order])}
        truth = np.array([place.get(photo.id, -1) for photo in self._photos])
        right = order == truth[:, None]
        return Score(guess, right[:, 0], float(right.any(axis=1).mean()))

    def _network(self, guess: Guess) -> nn.Module:
        variant = guess.traits.variant
        if variant not in self._networks:
            same = guess.traits == self._trained.design.traits
            self._networks[variant] = (self._trained if same else self._trained.with_traits(guess.traits)).network()
        return self._networks[variant]

    def _prepared(self, guess: Guess) -> Pixels:
        fit = preprocessing(guess.fit)
        key = (fit.resize, fit.resize_to, fit.interpolation)
        if key not in self._pixels:
            self._pixels = {key: labelled.pixels(self._photos, fit)}  # one set at a time: 200 photos are 30 MB
        return self._pixels[key]


def _around(guess: Guess, known: Sequence[Score]) -> Iterator[Guess]:
    tried = {(score.guess.traits, score.guess.fit) for score in known}
    return (other for other in guess.others() if (other.traits, other.fit) not in tried)


def _orders(name: str, table: Sequence[Label]) -> dict[str, Sequence[str]]:
    """The ids of the classes in the order that was given, and in the others that networks of so many classes have."""
    ids = [label.id for label in table]
    orders: dict[str, Sequence[str]] = {name: ids}
    for known in labelsets.SETS:
        others = [label.id for label in labelsets.named(known)]
        if len(others) == len(ids) and set(others) & set(ids):
            orders.setdefault(known, others)
    orders["one later"] = [*ids[-1:], *ids[:-1]]
    orders["one earlier"] = [*ids[1:], *ids[:1]]
    return orders


def _variant_or_first(path: Path, wishes: Wishes) -> Trained:
    """A checkpoint that does not tell its variant is probed from A on."""
    try:
        return understand(path, wishes.told)
    except CheckpointError as error:
        if "--variant" not in str(error) or wishes.variant is not None:
            raise
        return understand(path, dataclasses.replace(wishes, variant="A").told)
