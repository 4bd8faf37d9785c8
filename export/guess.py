"""Guess: one way to read a checkpoint, and the plausible variations of it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from models.evaluation import IMAGENET_MEAN, IMAGENET_STD, EvaluationTransform, Triple
from models.networks.design import Traits, Variant

_CAFFE: Triple = (123.68, 116.78, 103.94)
"""ImageNet's mean as Caffe's models subtract it, in RGB order, from pixels of 0..255."""

NORMALISATIONS: dict[str, tuple[Triple, Triple]] = {
    "ImageNet mean and std": (IMAGENET_MEAN, IMAGENET_STD),
    "mean and std 0.5": ((127.5,) * 3, (127.5,) * 3),
    "0..1 without normalisation": ((0.0,) * 3, (255.0,) * 3),
    "0..255 without normalisation": ((0.0,) * 3, (1.0,) * 3),
    "0..255 minus ImageNet mean": (_CAFFE, (1.0,) * 3),
    "0..255 minus ImageNet mean, times 0.017": (_CAFFE, (1 / 0.017,) * 3),
    "0..255 minus 127.5": ((127.5,) * 3, (1.0,) * 3),
}
"""The normalisations of known training code, as mean and std on the scale 0..255."""


@dataclass(frozen=True)
class Guess:
    """A network's traits, the transform of its photos, and the name of the order of its classes."""

    traits: Traits
    transform: EvaluationTransform
    order: str

    def variations(self) -> Iterator["Guess"]:
        """The guesses that differ in one thing, but not in the order of classes, which needs no other run."""
        for variant in _variants(self.traits):
            yield dataclasses.replace(self, traits=dataclasses.replace(self.traits, variant=variant))
        for transform in _transforms(self.transform):
            yield dataclasses.replace(self, transform=transform)

    def differences(self, given: "Guess") -> list[str]:
        """What differs from `given`, in words."""
        mine, theirs = self.transform, given.transform
        differing = {
            f"variant {self.traits.variant}": self.traits.variant != given.traits.variant,
            "BGR" if mine.bgr else "RGB": mine.bgr != theirs.bgr,
            _normalisation(mine): (mine.mean, mine.std) != (theirs.mean, theirs.std),
            _resizing(mine): _resizing(mine) != _resizing(theirs),
            f"class order {self.order}": self.order != given.order,
        }
        return [words for words, differs in differing.items() if differs]

    def options_from(self, given: "Guess") -> list[str]:
        """The options with which `convert` reads the checkpoint as this guess does."""
        mine, theirs, options = self.transform, given.transform, []
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


def _transforms(transform: EvaluationTransform) -> Iterator[EvaluationTransform]:
    yield dataclasses.replace(transform, bgr=not transform.bgr)
    for mean, std in NORMALISATIONS.values():
        if (mean, std) != (transform.mean, transform.std):
            yield dataclasses.replace(transform, mean=mean, std=std)
    margins = {round(transform.size / crop) for crop in (0.875, 0.95, 1.0)}  # the crops of published networks
    for resize_to in sorted(margins - {transform.resize_to}):
        yield dataclasses.replace(transform, resize_to=resize_to)
    yield dataclasses.replace(
        transform, interpolation="bicubic" if transform.interpolation == "bilinear" else "bilinear"
    )
    if transform.resize == "short_side":
        yield dataclasses.replace(transform, resize="squash", resize_to=transform.size)
    else:
        yield dataclasses.replace(transform, resize="short_side", resize_to=round(transform.size / 0.875))


def _normalisation(transform: EvaluationTransform) -> str:
    for words, pair in NORMALISATIONS.items():
        if pair == (transform.mean, transform.std):
            return words
    return f"mean {_joined(transform.mean)} std {_joined(transform.std)}"


def _resizing(transform: EvaluationTransform) -> str:
    side = "shorter side" if transform.resize == "short_side" else "squashed"
    return f"{side} to {transform.resize_to}, {transform.interpolation}"


def _joined(values: Triple) -> str:
    return ",".join(f"{value:g}" for value in values)
