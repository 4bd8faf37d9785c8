"""Explanation: what is told of a network's way to its answer for one photo."""

from dataclasses import dataclass

from bundle.predictions import Prediction, Vote


@dataclass(frozen=True)
class Wanted:
    """What is asked for: `top_k` predictions, and an explanation of one class.

    `class_index` None: the most probable class. `gates`: those of all channels.
    """

    top_k: int = 5
    class_index: int | None = None
    overlay: bool = False
    gates: bool = False


@dataclass(frozen=True)
class Region:
    """The part of the upright photo that the network sees, in shares 0..1 of its width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class ClassMap:
    """`values` (rows, columns): what each place of `region` adds to the class's logit, times the number of places."""

    values: tuple[tuple[float, ...], ...]
    region: Region


@dataclass(frozen=True)
class Strong:
    """A channel that a block lets through more than others."""

    channel: int
    gate: float


@dataclass(frozen=True)
class Excitation:
    """The gates of one SE block. `quantiles`: smallest, 25 %, median, 75 %, largest.

    `strongest`: up to five channels, the largest gate first. `gates`: of all channels; None where they were not asked
    for.
    """

    block: str
    channels: int
    mean: float
    deviation: float
    quantiles: tuple[float, ...]
    strongest: tuple[Strong, ...]
    gates: tuple[float, ...] | None


@dataclass(frozen=True)
class Explanation:
    """The predictions, `vote` as in `bundle.predictions`, and `explained`: the class that `map` is for.

    `map` is None where the network does not end in a mean over places and one linear layer, `overlay_png` also where it
    was not asked for. `decode_ms` and `infer_ms`: what decoding the photo and running the network took.
    """

    predictions: tuple[Prediction, ...]
    vote: Vote | None
    decode_ms: float
    infer_ms: float
    explained: Prediction
    map: ClassMap | None
    excitations: tuple[Excitation, ...]
    overlay_png: bytes | None
