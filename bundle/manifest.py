"""Manifest: `manifest.json`, which describes a bundle and names its files."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Literal, Self

from bundle import records
from bundle.errors import BundleError
from bundle.records import RecordError

Interpolation = Literal["bilinear", "bicubic"]

SCHEMA = 1
"""The version of the fields below. A field that is added needs a default: older bundles do not have it."""


@dataclass(frozen=True)
class SEBlockRow:
    """One SE block: its unit's name, the channels that it multiplies by gates, and the channels inside it.

    `gate` names the tensor of model.onnx that holds its gates, (batch, channels, 1, 1) float32. Older bundles do not
    name it.
    """

    name: str
    channels: int
    squeezed: int
    gate: str | None = None


@dataclass(frozen=True)
class Architecture:
    """The network. `macs` is the number of multiply-adds for one image of the bundle's size.

    `variant` states where a residual network strides and how it pools (A to D, see `models.networks.design`), `stem`
    what its first layers are. Both are None for other networks.
    """

    name: str
    variant: Literal["A", "B", "C", "D"] | None
    stem: str | None
    parameters: int
    macs: int
    se_blocks: tuple[SEBlockRow, ...]


@dataclass(frozen=True)
class Source:
    """The checkpoint. `taken` describes the set of weights that was taken from it, `url` the address of a download."""

    file: str
    sha256: str
    format: str
    taken: str
    url: str | None = None


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes Pixels, and how the graph normalises them. Lengths are in pixels.

    The shorter side (`short_side`) or both sides (`squash`) are resized to `resize_to`; then `height` x `width` is
    cropped at the centre. `mean` and `std` are RGB, 0..255; the graph applies them. Raises BundleError where the
    numbers cannot work.
    """

    height: int
    width: int
    resize: Literal["short_side", "squash"]
    resize_to: int
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not max(self.height, self.width) <= self.resize_to <= 4096:
            raise BundleError(
                f"preprocessing crops {self.height}x{self.width} from a photo resized to {self.resize_to}: "
                "resize_to must be at least the size, and at most 4096."
            )
        if min(self.height, self.width) < 8:
            raise BundleError(f"preprocessing crops {self.height}x{self.width} pixels: at least 8x8 are needed.")
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) < 1e-3:
            raise BundleError("preprocessing needs a finite mean, and a finite std above 0.001.")


@dataclass(frozen=True)
class LabelsRow:
    """The labels: the name of the set, the number of classes, the sha256 of labels.tsv."""

    set: str
    classes: int
    sha256: str


@dataclass(frozen=True)
class Head:
    """The end of a network that pools its last feature map and has one linear layer, by the names in model.onnx.

    The logits are weight · embedding + bias, and `embedding` (batch, channels) is the mean of `features` (batch,
    channels, height, width) over its places. `weight` (classes, channels) and `bias` (classes) are constants; a bias of
    zeros is left out.
    """

    features: str
    embedding: str
    weight: str
    bias: str | None = None


@dataclass(frozen=True)
class Graph:
    """One ONNX file of the bundle.

    `largest_weight` is the largest magnitude of the weights of an `int8` graph, which decides what it needs of a CPU
    (see `bundle.overflow`). Older bundles do not have it; their weights reach 127.
    """

    file: str
    sha256: str
    bytes: int
    precision: str
    opset: int
    largest_weight: int | None = None


@dataclass(frozen=True)
class ParityRow:
    """How close a graph in an engine is to the network in torch, measured on `images` images: generated ones or photos.

    `precision` is that of the computation. `max_dp` and `max_dlogp` are the largest difference of a probability, and of
    its logarithm over the top ten. Agreements are shares of images, 0..1: `sure_agreement` is the top-1 agreement on
    the `sure_images` that fp32 is sure of (see `bundle.parity`). Where the true classes of `labelled` images are
    known: top-1 accuracies in fp32 and in `precision`, and the 95 % interval of the loss of accuracy, all shares 0..1.
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
    """The content of `manifest.json`. Paths in it are names of files beside it. `probe_sha256` is that of probe.npz.

    `head` is None for a network that ends otherwise, and for older bundles.
    """

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
    head: Head | None = None

    def to_json(self) -> str:
        fields = dataclasses.asdict(self, dict_factory=_without_none)
        return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises BundleError when the text is not a manifest, or one of a newer schema."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BundleError(f"manifest.json is not JSON ({error}): export the bundle again.") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if isinstance(schema, int) and schema < 1:
            raise BundleError(f"manifest.json has schema {schema}, which does not exist: export the bundle again.")
        if isinstance(schema, int) and schema > SCHEMA:
            raise BundleError(
                f"manifest.json has schema {schema} and this Sesame reads up to {SCHEMA}: update Sesame, "
                "or export the bundle again with this version."
            )
        try:
            return records.read(cls, data, "manifest")
        except RecordError as error:
            raise BundleError(f"{str(error).removesuffix('.')}: export the bundle again.") from error


def _without_none(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {key: value for key, value in pairs if value is not None}
