"""Manifest: `manifest.json`, all that is known of a bundle besides its tensors."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Literal, Self

from bundle import records
from bundle.errors import BundleError

SCHEMA = 1


@dataclass(frozen=True)
class SEBlockRow:
    """One SE block: the module it belongs to, the channels it weighs, the channels inside."""

    name: str
    channels: int
    squeezed: int


@dataclass(frozen=True)
class Architecture:
    """The network. `macs` are multiply-adds for one image at the bundle's size.

    `variant` is where a residual network strides and how it pools (A to D, see the README), `stem` its first
    convolution; others have neither.
    """

    name: str
    variant: Literal["A", "B", "C", "D"] | None
    stem: str | None
    parameters: int
    macs: int
    se_blocks: tuple[SEBlockRow, ...]


@dataclass(frozen=True)
class Source:
    """The checkpoint it came from, and from where if fetched; `taken` says which of several weight sets in the file."""

    file: str
    sha256: str
    format: str
    taken: str
    url: str | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes Pixels. Lengths in pixels; `mean` and `std`, applied by the graph, are RGB of 0..255.

    `short_side`: the shorter side becomes `resize_to`; `squash`: both do. Then the centre height x width is cut out.
    """

    height: int
    width: int
    resize: Literal["short_side", "squash"]
    resize_to: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not max(self.height, self.width) <= self.resize_to <= 4096:
            raise BundleError(
                f"preprocessing cuts {self.height}x{self.width} out of a photo resized to {self.resize_to}: "
                "resize_to must be at least the size, and at most 4096."
            )
        if min(self.height, self.width) < 8:
            raise BundleError(f"preprocessing cuts out {self.height}x{self.width} pixels: at least 8x8 are needed.")
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) < 1e-3:
            raise BundleError("preprocessing needs a finite mean, and a finite std above 0.001.")


@dataclass(frozen=True)
class LabelsRow:
    """The label file: the set's name, the number of classes, the sha256 of labels.tsv."""

    set: str
    classes: int
    sha256: str


@dataclass(frozen=True)
class Graph:
    """One ONNX file of the bundle.

    `largest_weight`: the largest magnitude among the weights of an `int8` graph, which decides what it needs of a CPU
    (see `bundle.overflow`). Bundles before it do not tell; their weights reach 127.
    """

    file: str
    sha256: str
    bytes: int
    precision: str
    opset: int
    largest_weight: int | None = None


@dataclass(frozen=True)
class ParityRow:
    """How near a graph in an engine came to the torch network, on `images` images of the kind that `inputs` says.

    `precision` is what the engine computed in. `max_dp` and `max_dlogp` are the largest differences of probability and
    of its logarithm over the top ten; `sure_agreement` is that of the best class among the `sure_images`, of which the
    torch network is sure (see `bundle.parity`). Where classes were known: accuracies, and the loss' 95 % interval.
    """

    file: str
    engine: str
    precision: str
    images: int
    inputs: Literal["generated", "photos"]
    max_dp: float
    max_dlogp: float
    top1_agreement: float
    top5_agreement: float
    sure_images: int | None = None
    sure_agreement: float | None = None
    labelled: int | None = None
    accuracy_fp32: float | None = None
    accuracy: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`. Paths in it are names of files beside it; `probe_sha256` is that of probe.npz."""

    schema: int
    name: str
    version: str
    created: str
    architecture: Architecture
    source: Source
    preprocessing: Preprocessing
    labels: LabelsRow
    graphs: tuple[Graph, ...]
    parity: tuple[ParityRow, ...]
    probe_sha256: str
    tools: dict[str, str]

    def to_json(self) -> str:
        told = dataclasses.asdict(self, dict_factory=_told)
        return json.dumps(told, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises BundleError when the text is not a manifest, or one of a newer schema."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BundleError(f"manifest.json is not JSON ({error}): export the bundle again.") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if isinstance(schema, int) and schema < 1:
            raise BundleError(f"manifest.json has schema {schema}, which there never was: export the bundle again.")
        if isinstance(schema, int) and schema > SCHEMA:
            raise BundleError(
                f"manifest.json has schema {schema} and this Sesame reads up to {SCHEMA}: update Sesame, "
                "or export the bundle again with this version."
            )
        return records.read(cls, data, "manifest")


def _told(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """What is None is not there."""
    return {key: value for key, value in pairs if value is not None}
