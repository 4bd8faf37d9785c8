"""Guess: one way to read a checkpoint, and the plausible others beside it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from models.design import Traits, Variant
from models.fit import IMAGENET_MEAN, IMAGENET_STD, Fit, Triple

_CAFFE: Triple = (123.68, 116.78, 103.94)
"""ImageNet's mean as Caffe's models subtract it (here RGB), from pixels of 0..255."""

NORMALISATIONS: dict[str, tuple[Triple, Triple]] = {
    "ImageNet mean and std": (IMAGENET_MEAN, IMAGENET_STD),
    "mean and std 0.5": ((127.5,) * 3, (127.5,) * 3),
    "0..1 as it is": ((0.0,) * 3, (255.0,) * 3),
    "0..255 as it is": ((0.0,) * 3, (1.0,) * 3),
    "0..255 less ImageNet mean": (_CAFFE, (1.0,) * 3),
    "0..255 less ImageNet mean, times 0.017": (_CAFFE, (1 / 0.017,) * 3),
    "0..255 less 127.5": ((127.5,) * 3, (1.0,) * 3),
}
"""What training code is known to do to pixels."""


@dataclass(frozen=True)
class Guess:
    """A network's variant, what is done to photos, and whose order its classes have (the name of an order)."""

    traits: Traits
    fit: Fit
    order: str

    def others(self) -> Iterator["Guess"]:
        """Those that differ in one thing, the order of classes apart: it can be told from the same answers."""
        for variant in _variants(self.traits):
            yield dataclasses.replace(self, traits=dataclasses.replace(self.traits, variant=variant))
        for fit in _fits(self.fit):
            yield dataclasses.replace(self, fit=fit)

    def beside(self, given: "Guess") -> list[str]:
        """In words, what is other than in `given`."""
        mine, theirs = self.fit, given.fit
        differing = {
            f"variant {self.traits.variant}": self.traits.variant != given.traits.variant,
            "BGR" if mine.bgr else "RGB": mine.bgr != theirs.bgr,
            _normalisation(mine): (mine.mean, mine.std) != (theirs.mean, theirs.std),
            _resizing(mine): _resizing(mine) != _resizing(theirs),
            f"class order {self.order}": self.order != given.order,
        }
        return [words for words, differs in differing.items() if differs]

    def options(self, given: "Guess") -> list[str]:
        """What to say to `convert` so that it reads the checkpoint as this guess does."""
        mine, theirs, options = self.fit, given.fit, []
        if self.traits.variant != given.traits.variant:
            options.append(f"--variant {self.traits.variant}")
        if mine.bgr != theirs.bgr:
            options.append("--bgr" if mine.bgr else "--no-bgr")
        if (mine.mean, mine.std) != (theirs.mean, theirs.std):
            options.append(f"--mean {_joined(mine.mean)} --std {_joined(mine.std)} --scale 255")
        if _resizing(mine) != _resizing(theirs):
            options.append(f"--resize {mine.resize} --resize-to {mine.resize_to} --interpolation {mine.interpolation}")
        if self.order != given.order:
            options.append(f"--labels {self.order}" if " " not in self.order else "--labels FILE (shifted by one)")
        return options


def _variants(traits: Traits) -> list[Variant]:
    every: tuple[Variant, ...] = ("A", "B", "C", "D")
    return [variant for variant in every if variant != traits.variant] if traits.variant else []


def _fits(fit: Fit) -> Iterator[Fit]:
    yield dataclasses.replace(fit, bgr=not fit.bgr)
    for mean, std in NORMALISATIONS.values():
        if (mean, std) != (fit.mean, fit.std):
            yield dataclasses.replace(fit, mean=mean, std=std)
    margins = {round(fit.size / crop) for crop in (0.875, 0.95, 1.0)}  # of the crops that published networks use
    for resize_to in sorted(margins - {fit.resize_to}):
        yield dataclasses.replace(fit, resize_to=resize_to)
    yield dataclasses.replace(fit, interpolation="bicubic" if fit.interpolation == "bilinear" else "bilinear")
    if fit.resize == "short_side":
        yield dataclasses.replace(fit, resize="squash", resize_to=fit.size)
    else:
        yield dataclasses.replace(fit, resize="short_side", resize_to=round(fit.size / 0.875))


def _normalisation(fit: Fit) -> str:
    for words, pair in NORMALISATIONS.items():
        if pair == (fit.mean, fit.std):
            return words
    return f"mean {_joined(fit.mean)} std {_joined(fit.std)}"


def _resizing(fit: Fit) -> str:
    side = "shorter side" if fit.resize == "short_side" else "squashed"
    return f"{side} to {fit.resize_to}, {fit.interpolation}"


def _joined(values: Triple) -> str:
    return ",".join(f"{value:g}" for value in values)
