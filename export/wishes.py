"""Wishes: what the user says of a checkpoint, and what follows from it together with the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle import labels
from bundle.labels import Label
from bundle.manifest import Preprocessing
from export.errors import ExportError
from models.formats.format import Format
from models.seresnet import StemKind

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Wishes:
    """None leaves a thing to the file and its format.

    `mean` and `std` as training code states them: RGB, on the scale 0..255 where a mean exceeds 1, else 0..1.
    """

    name: str | None = None
    bundles: Path = Path("bundles")
    arch: str | None = None
    format: str | None = None
    weights: str | None = None
    stem: StemKind | None = None
    size: int | None = None
    resize: Literal["short_side", "squash"] = "short_side"
    resize_to: int | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    labels: str = labels.IMAGENET
    photos: Path | None = None
    notes: Path | None = None

    @property
    def label_set(self) -> str:
        """The name of the labels: imagenet-1k, or that of the user's file."""
        return self.labels if self.labels == labels.IMAGENET else Path(self.labels).stem

    def label_table(self, classes: int) -> Sequence[Label]:
        """The labels; raises ExportError where they are not as many as the network's classes."""
        table = labels.imagenet() if self.labels == labels.IMAGENET else labels.from_file(Path(self.labels))
        if len(table) != classes:
            raise ExportError(
                f"The network has {classes} classes and '{self.labels}' has {len(table)} labels: "
                "give --labels FILE with one line per class, in the order of the network's outputs."
            )
        return table

    def preprocessing(self, layout: Format) -> Preprocessing:
        """As wished, the rest as the format's training code does it, the margin around the crop in proportion."""
        size = layout.size if self.size is None else self.size
        margin = layout.resize_to / layout.size
        mean, std = self._normalisation(layout)
        return Preprocessing(
            height=size,
            width=size,
            resize=self.resize,
            resize_to=round(size * margin) if self.resize_to is None else self.resize_to,
            interpolation=self.interpolation or layout.interpolation,
            mean=mean,
            std=std,
        )

    def _normalisation(self, layout: Format) -> tuple[Triple, Triple]:
        if (self.mean is None) != (self.std is None):
            raise ExportError("Give --mean and --std together: the scale of one is told by the other.")
        if self.mean is None or self.std is None:
            return layout.mean, layout.std
        if max(self.mean) <= 1 < max(self.std) or max(self.mean) > 1 > max(self.std):
            raise ExportError("--mean and --std are on different scales: state both on 0..1, or both on 0..255.")
        scale = 255 if max(self.mean) <= 1 else 1
        return _scaled(self.mean, scale), _scaled(self.std, scale)

    def card_notes(self) -> str | None:
        """The text of the notes file; raises ExportError where it cannot be read."""
        try:
            return self.notes.read_text(encoding="utf-8") if self.notes else None
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(f"The notes '{self.notes}' cannot be read as UTF-8 text: {error}.") from error


def _scaled(values: Triple, scale: float) -> Triple:
    return (values[0] * scale, values[1] * scale, values[2] * scale)
