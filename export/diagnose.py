"""Diagnosis: scores a checkpoint on labelled photos, as given and read in other plausible ways, and names the fault."""

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
from export.graphs.graph import ServedNetwork
from export.guess import Guess
from export.options import ConvertOptions, preprocessing
from export.progress import Progress
from export.proving import labelled
from export.proving.labelled import LabelledPhoto
from export.proving.reference_runs import torch_probabilities
from models.errors import CheckpointError
from models.trained import Trained, understand

MOST_PHOTOS = 200
"""Photos to score on by default: enough to show a fault that costs 6 points."""

_MOST_FAULTS = 3  # that are searched for together


@dataclass(frozen=True)
class Score:
    """How often a guess is right. `hits`: (n,), for each photo whether the best class is its own; `top5`: 0..1."""

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
class Diagnosis:
    """All scores, best first, and the score of the checkpoint as the user gave it."""

    given: Score
    scores: tuple[Score, ...]

    @property
    def best(self) -> Score:
        """Of the scores that the highest does not clearly beat, the one with the fewest differences from `given`."""
        equals = [score for score in self.scores if not self.scores[0].beats(score)]
        return min(equals, key=lambda score: (len(score.guess.differences(self.given.guess)), -score.top1))

    def verdict(self) -> str:
        """One sentence with the fault and its cure."""
        found, given = self.best, self.given
        if found is given:
            return f"{given.top1:.1%} as given; nothing else that was tried is clearly better."
        words = " and ".join(found.guess.differences(given.guess))
        options = " ".join(found.guess.options_from(given.guess))
        return f"{given.top1:.1%} as given, {found.top1:.1%} with {words}. Convert with: {options}"

    def table(self, rows: int = 12) -> str:
        """The best guesses, one a line."""
        lines = [f"{'top-1':>7} {'top-5':>7}  difference from what was given"]
        for score in self.scores[:rows]:
            words = ", ".join(score.guess.differences(self.given.guess)) or "as given"
            lines.append(f"{score.top1:7.1%} {score.top5:7.1%}  {words}")
        return "\n".join(lines)

    def to_json(self) -> str:
        rows = [
            {
                "top1": score.top1,
                "top5": score.top5,
                "difference": score.guess.differences(self.given.guess),
                "options": score.guess.options_from(self.given.guess),
            }
            for score in self.scores
        ]
        return json.dumps({"photos": len(self.given.hits), "verdict": self.verdict(), "guesses": rows}, indent=2)


def diagnose(path: Path, folder: Path, options: ConvertOptions, most: int, progress: Progress) -> Diagnosis:
    """Score a checkpoint on at most `most` of the labelled photos under a folder.

    The search starts from the reading that the user gave. It moves to the best reading that differs in one thing, as
    long as that one is clearly better. Raises CheckpointError, BundleError or ExportError.
    """
    trained = _variant_or_first(path, options)
    name, table = options.label_table(trained)
    photos = labelled.find(folder, table, most)
    runner = _Runner(trained, photos, _orders(name, table), progress)
    given, *scored = runner.scores(Guess(trained.design.traits, options.transform(trained.transform), name))
    best, rest = given, list(scored)
    for _ in range(_MOST_FAULTS):
        found = [score for other in _around(best.guess, [given, *rest]) for score in runner.scores(other)]
        rest += found
        ahead = max(rest, key=lambda score: (score.top1, score.top5))
        if not ahead.beats(best):
            break
        best = ahead
    ranked = sorted([given, *rest], key=lambda s: (-s.top1, len(s.guess.differences(given.guess)), -s.top5))
    return Diagnosis(given, tuple(ranked))


class _Runner:
    """Scores guesses on all photos; one run of the network scores every order of classes."""

    def __init__(
        self, trained: Trained, photos: Sequence[LabelledPhoto], orders: Mapping[str, Sequence[str]], progress: Progress
    ) -> None:
        self._trained, self._photos, self._orders, self._progress = trained, photos, orders, progress
        self._networks: dict[str | None, nn.Module] = {}
        self._pixels: dict[object, Pixels] = {}

    def scores(self, guess: Guess) -> list[Score]:
        """The score with the guess's own order of classes first, then with the others."""
        transform = guess.transform
        served = ServedNetwork(self._network(guess), transform.mean, transform.std, transform.bgr).eval()
        self._progress.step(
            f"trying {guess.traits.variant or ''} {'BGR' if transform.bgr else 'RGB'}".replace("  ", " ")
        )
        answers = torch_probabilities(served, self._prepared(guess), self._progress.advance)
        order = np.argsort(-answers, axis=1, kind="stable")[:, :5]
        names = [guess.order, *(name for name in self._orders if name != guess.order)]
        return [self._score(dataclasses.replace(guess, order=name), order) for name in names]

    def _score(self, guess: Guess, order: NDArray[np.int64]) -> Score:
        index = {id: number for number, id in enumerate(self._orders[guess.order])}
        truth = np.array([index.get(photo.id, -1) for photo in self._photos])
        right = order == truth[:, None]
        return Score(guess, right[:, 0], float(right.any(axis=1).mean()))

    def _network(self, guess: Guess) -> nn.Module:
        variant = guess.traits.variant
        if variant not in self._networks:
            same = guess.traits == self._trained.design.traits
            self._networks[variant] = (self._trained if same else self._trained.with_traits(guess.traits)).network()
        return self._networks[variant]

    def _prepared(self, guess: Guess) -> Pixels:
        wanted = preprocessing(guess.transform)
        key = (wanted.resize, wanted.resize_to, wanted.interpolation)
        if key not in self._pixels:
            self._pixels = {key: labelled.load_pixels(self._photos, wanted)}  # one set at a time: 200 photos are 30 MB
        return self._pixels[key]


def _around(guess: Guess, known: Sequence[Score]) -> Iterator[Guess]:
    tried = {(score.guess.traits, score.guess.transform) for score in known}
    return (other for other in guess.variations() if (other.traits, other.transform) not in tried)


def _orders(name: str, table: Sequence[Label]) -> dict[str, Sequence[str]]:
    """The class ids in the given order, and in the other orders of known networks with that number of classes."""
    ids = [label.id for label in table]
    orders: dict[str, Sequence[str]] = {name: ids}
    for known in labelsets.SETS:
        others = [label.id for label in labelsets.named(known)]
        if len(others) == len(ids) and set(others) & set(ids):
            orders.setdefault(known, others)
    orders["one later"] = [*ids[-1:], *ids[:-1]]
    orders["one earlier"] = [*ids[1:], *ids[:1]]
    return orders


def _variant_or_first(path: Path, options: ConvertOptions) -> Trained:
    """The checkpoint as given; where its variant is unknown, as variant A, from which the search starts."""
    try:
        return understand(path, options.read_options)
    except CheckpointError as error:
        if "--variant" not in str(error) or options.variant is not None:
            raise
        return understand(path, dataclasses.replace(options, variant="A").read_options)
