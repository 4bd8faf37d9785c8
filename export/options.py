"""Options of a conversion: what the user says about a checkpoint and its bundle, completed from the file itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle import labelsets
from bundle.labels import Label, from_names
from bundle.manifest import Preprocessing
from export.errors import ExportError
from models.evaluation import EvaluationTransform, Triple
from models.networks.design import SEPlace, StemKind, Traits, Variant
from models.trained import ReadOptions, Trained


@dataclass(frozen=True)
class ConvertOptions:
    """What the user says; None leaves a value to the file and its format.

    `mean` and `std` are RGB, as the training code states them. `scale` is the largest pixel value of that code, 1 or
    255; by default it is 255 where a value of `mean` is above 1.
    """

    name: str | None = None
    model_repository: Path = Path("model_repository")
    arch: str | None = None
    format: str | None = None
    weights: str | None = None
    skip_objects: bool = False
    variant: Variant | None = None
    stem: StemKind | None = None
    se_place: SEPlace | None = None
    size: int | None = None
    resize: Literal["short_side", "squash"] | None = None
    resize_to: int | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    scale: Literal[1, 255] | None = None
    bgr: bool | None = None
    labels: str | None = None
    photos: Path | None = None
    precisions: tuple[str, ...] = ("fp32",)
    calibrate: Path | None = None
    judge: Path | None = None
    notes: Path | None = None

    @property
    def read_options(self) -> ReadOptions:
        """The options that concern the reading of the checkpoint."""
        traits = Traits(self.variant, self.stem, self.se_place)
        return ReadOptions(self.format, self.weights, self.arch, traits, self.skip_objects)

    @property
    def compared_on(self) -> Literal["photos", "generated"]:
        """The kind of images that the fp32 graph is compared on."""
        return "photos" if self.photos or self.calibrate else "generated"

    def transform(self, usual: EvaluationTransform) -> EvaluationTransform:
        """The transform of the format's training code with the user's changes.

        A new size keeps the proportion of the crop to the resized photo. Raises ExportError for an unclear mean or std.
        """
        size = usual.size if self.size is None else self.size
        margin = usual.resize_to / usual.size
        mean, std = self._normalisation(usual)
        return EvaluationTransform(
            size=size,
            resize_to=round(size * margin) if self.resize_to is None else self.resize_to,
            interpolation=self.interpolation or usual.interpolation,
            mean=mean,
            std=std,
            resize=self.resize or usual.resize,
            bgr=usual.bgr if self.bgr is None else self.bgr,
        )

    def _normalisation(self, usual: EvaluationTransform) -> tuple[Triple, Triple]:
        if (self.mean is None) != (self.std is None):
            raise ExportError("Give --mean and --std together: they must be on the same scale.")
        if self.mean is None or self.std is None:
            return usual.mean, usual.std
        guessed = 1 if max(self.mean) <= 1 else 255
        if self.scale is None and (max(self.std) > 1) != (guessed > 1):
            raise ExportError(
                "--mean and --std seem to be on different scales: give the scale with --scale 1 or --scale 255."
            )
        by = 255 // (self.scale or guessed)
        return _scaled(self.mean, by), _scaled(self.std, by)

    def label_table(self, trained: Trained) -> tuple[str, Sequence[Label]]:
        """The name of the label set and its labels.

        The user's set comes first, then the checkpoint's own, then the known set with that number of classes. Raises
        ExportError where the number of labels is not the network's number of classes, BundleError for a bad file.
        """
        classes = trained.design.classes
        name = self.labels or (None if trained.source.classes else _usual(trained))
        if name is not None:
            table = labelsets.named(name) if name in labelsets.SETS else labelsets.from_file(Path(name))
        elif trained.source.classes:
            name, table = "class_to_idx", from_names(trained.source.classes, labelsets.imagenet())
        else:
            raise ExportError(_unknown(classes))
        if len(table) != classes:
            raise ExportError(
                f"The network has {classes} classes and '{name}' has {len(table)} labels: "
                "give --labels FILE with one line per class, in the order of the network's outputs."
            )
        return name if name in labelsets.SETS else Path(name).stem, table

    def card_notes(self) -> str | None:
        """The text of the notes file, None without one. Raises ExportError where it cannot be read."""
        try:
            return self.notes.read_text(encoding="utf-8") if self.notes else None
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(f"The notes '{self.notes}' cannot be read as UTF-8 text: {error}.") from error


def preprocessing(transform: EvaluationTransform) -> Preprocessing:
    """The manifest's form of a transform. The channel order is left out: the graph itself swaps channels."""
    return Preprocessing(
        transform.size,
        transform.size,
        transform.resize,
        transform.resize_to,
        transform.interpolation,
        transform.mean,
        transform.std,
    )


def _usual(trained: Trained) -> str | None:
    """The known label set with that number of classes; for ImageNet's 1000 the format says in which order they are."""
    usual = labelsets.for_count(trained.design.classes)
    return trained.labels if usual == labelsets.IMAGENET else usual


def _unknown(classes: int) -> str:
    cifar = "--labels cifar-10 if it is CIFAR-10, or " if classes == 10 else ""
    return (
        f"The network has {classes} classes, and no known label set has that number: give {cifar}--labels FILE with "
        "one line per class, in the order of the network's outputs."
    )


def _scaled(values: Triple, by: float) -> Triple:
    return (values[0] * by, values[1] * by, values[2] * by)
