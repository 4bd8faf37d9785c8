"""Explanation: the answer to a photo whose prediction is explained."""

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from server.rest.contract.classification import Classification, ClassPrediction
from server.rest.contract.part import Part, not_always


class SeenRegion(Part):
    """The part of the upright photo that the network sees, in shares of its width and height."""

    left: float
    top: float
    width: float
    height: float


class MapOfClass(Part):
    """Where in the region the network found its evidence for the class (Zhou et al., arXiv 1512.04150)."""

    rows: int
    columns: int
    values: list[list[float]] = Field(
        description="by rows: what each place adds to the class's logit, times the number of places"
    )
    region: SeenRegion


class StrongChannel(Part):
    channel: int
    gate: float


class BlockExcitation(Part):
    """The gates of one squeeze-and-excitation block: what each channel was multiplied by."""

    block: str
    channels: int
    mean: float
    deviation: float
    quantiles: list[float] = Field(description="smallest, 25 %, median, 75 %, largest")
    strongest: list[StrongChannel] = Field(description="up to five channels, the largest gate first")
    gates: list[float] | SkipJsonSchema[None] = not_always("of every channel; only with `gates=full`")


class ExplainedPhoto(Classification):
    """The predictions, and how the network came to one of them."""

    model_config = ConfigDict(serialize_by_alias=True)

    explained: ClassPrediction = Field(alias="class", description="the class that is explained")
    map: MapOfClass | SkipJsonSchema[None] = not_always(
        "only where the network ends in a mean over places and one linear layer"
    )
    map_missing: str | SkipJsonSchema[None] = not_always("why there is no map")
    overlay_png: str | SkipJsonSchema[None] = not_always(
        "a PNG in base64: the photo with the map over it; only with `overlay=true`, and where there is a map"
    )
    excitations: list[BlockExcitation] = Field(description="of each block, in the order of the network")
    explain_ms: float = Field(description="milliseconds that this took beyond the classification")
