"""Wishes: what the user says of a checkpoint and its bundle, and what follows from it together with the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle import labelsets
from bundle.labels import Label, from_names
from bundle.manifest import Preprocessing
from export.errors import ExportError
from models.design import SEPlace, StemKind, Traits, Variant
from models.fit import Fit, Triple
from models.trained import Told, Trained


@dataclass(frozen=True)
class Wishes:
    """None leaves a thing to the file and its format.

    `mean` and `std` as training code states them, RGB; `scale` is how far its pixels ran, 1 or 255, and where it is not
    told a mean above 1 tells 255.
    """

    name: str | None = None
    bundles: Path = Path("bundles")
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
    def told(self) -> Told:
        """What of the wishes concerns the reading of the checkpoint."""
        traits = Traits(self.variant, self.stem, self.se_place)
        return Told(self.format, self.weights, self.arch, traits, self.skip_objects)

    @property
    def compared_on(self) -> Literal["photos", "generated"]:
        """What kind of images the fp32 graph is compared on."""
        return "photos" if self.photos or self.calibrate else "generated"

    def fit(self, usual: Fit) -> Fit:
        """As wished, the rest as the format's training code does it, the margin around the crop in proportion."""
        size = usual.size if self.size is None else self.size
        margin = usual.resize_to / usual.size
        mean, std = self._normalisation(usual)
        return Fit(
            size=size,
            resize_to=round(size * margin) if self.resize_to is None else self.resize_to,
            interpolation=self.interpolation or usual.interpolation,
            mean=mean,
            std=std,
            resize=self.resize or usual.resize,
            bgr=usual.bgr if self.bgr is None else self.bgr,
        )

    def _normalisation(self, usual: Fit) -> tuple[Triple, Triple]:
        if (self.mean is None) != (self.std is None):
            raise ExportError("Give --mean and --std together: the scale of one is told by the other.")
        if self.mean is None or self.std is None:
            return usual.mean, usual.std
        guessed = 1 if max(self.mean) <= 1 else 255
        if self.scale is None and (max(self.std) > 1) != (guessed > 1):
            raise ExportError(
                "--mean and --std seem to be on different scales: say which with --scale 1 or --scale 255."
            )
        by = 255 // (self.scale or guessed)
        return _scaled(self.mean, by), _scaled(self.std, by)

    def label_table(self, trained: Trained) -> tuple[str, Sequence[Label]]:
        """The set's name and the labels: as wished, else the checkpoint's own, else those of so many classes.

        Raises ExportError where they are not as many as the network's classes, BundleError for a bad file.
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
        """The text of the notes file; raises ExportError where it cannot be read."""
        try:
            return self.notes.read_text(encoding="utf-8") if self.notes else None
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(f"The notes '{self.notes}' cannot be read as UTF-8 text: {error}.") from error


def preprocessing(fit: Fit) -> Preprocessing:
    """A fit as the manifest says it; the channel order is the graph's own business."""
    return Preprocessing(fit.size, fit.size, fit.resize, fit.resize_to, fit.interpolation, fit.mean, fit.std)


def _usual(trained: Trained) -> str | None:
    """The label set of a network with so many classes; for the thousand of ImageNet the format knows their order."""
    usual = labelsets.for_count(trained.design.classes)
    return trained.labels if usual == labelsets.IMAGENET else usual


def _unknown(classes: int) -> str:
    cifar = "--labels cifar-10 if it is CIFAR-10, or " if classes == 10 else ""
    return (
        f"The network has {classes} classes, which tells no label set: say {cifar}--labels FILE with one line per "
        "class, in the order of the network's outputs."
    )


def _scaled(values: Triple, by: float) -> Triple:
    return (values[0] * by, values[1] * by, values[2] * by)
