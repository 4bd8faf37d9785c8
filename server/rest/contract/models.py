"""Models: what operators are told about model versions, aliases and the health of the server."""

from typing import Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from server.lifecycle import Phase
from server.registry.entry import State
from server.rest.contract.part import Part, not_always


class ModelState(Part):
    model: str
    version: str
    state: State
    reason: str = Field(description="why it failed, or what else operators should know of it; may be empty")


class ModelLabels(Part):
    set: str = Field(description="name of the set of labels")
    classes: int


class ModelInput(Part):
    """How a photo becomes the network's input. Lengths in pixels."""

    height: int
    width: int
    resize: Literal["short_side", "squash"]
    resize_to: int
    interpolation: Literal["bilinear", "bicubic"]


class ModelEngine(Part):
    name: str
    precision: str
    why: str = Field(description="why this engine was chosen")
    device: str
    copies: int = Field(description="number of engines, one for each processor")
    batch: int = Field(description="most images in a batch")


class ModelParity(Part):
    """How near the engine comes to the torch network, found at the start on the bundle's probe."""

    images: int
    max_dp: float = Field(description="largest difference of a probability")
    max_dlogp: float = Field(description="largest difference of the logarithm of a probability")
    top1_agreement: float = Field(description="share of the images with the same most probable class")
    top5_agreement: float = Field(description="share of the images with the same five most probable classes")


class GraphProof(Part):
    """How near a graph of the bundle came to the torch network, found by the export."""

    file: str
    engine: str
    precision: str
    images: int
    inputs: Literal["generated", "photos"]
    max_dp: float
    max_dlogp: float
    top1_agreement: float
    top5_agreement: float
    sure_images: int | SkipJsonSchema[None] = not_always("images of whose class the torch network is sure")
    sure_agreement: float | SkipJsonSchema[None] = not_always("share of those with the same most probable class")
    labelled: int | SkipJsonSchema[None] = not_always("images whose class is known")
    accuracy_fp32: float | SkipJsonSchema[None] = not_always("accuracy of the torch network on those")
    accuracy: float | SkipJsonSchema[None] = not_always("accuracy of the graph on those")
    loss_low: float | SkipJsonSchema[None] = not_always("loss of accuracy, lower end of its 95 % interval")
    loss_high: float | SkipJsonSchema[None] = not_always("loss of accuracy, upper end of its 95 % interval")


class ModelDescription(ModelState):
    """A model version. All but its state only while it is READY."""

    architecture: str | SkipJsonSchema[None] = not_always("the network")
    parameters: int | SkipJsonSchema[None] = not_always("number of parameters")
    macs: int | SkipJsonSchema[None] = not_always("multiplications and additions for one image")
    labels: ModelLabels | SkipJsonSchema[None] = not_always("what its outputs mean")
    input: ModelInput | SkipJsonSchema[None] = not_always("what photos are brought to")
    engine: ModelEngine | SkipJsonSchema[None] = not_always("what computes its answers")
    parity: ModelParity | SkipJsonSchema[None] = not_always("measured at the start")
    proofs: list[GraphProof] | SkipJsonSchema[None] = not_always("measured by the export")


class VersionShare(Part):
    """A version that shares the callers of an alias with others."""

    version: str
    weight: float = Field(description="per cent of the callers that it answers")


class AliasTarget(Part):
    """What an alias stands for."""

    model: str
    version: str = Field(description="empty: always the newest that is ready, or those of `versions`")
    versions: list[VersionShare] | SkipJsonSchema[None] = not_always("versions that share the callers")
    shadow: str | SkipJsonSchema[None] = not_always("the version that gets copies of photos and answers nobody")


class ModelVersions(Part):
    models: list[ModelDescription]


class ModelList(ModelVersions):
    aliases: dict[str, AliasTarget]


class AliasList(Part):
    aliases: dict[str, AliasTarget]
    kept: bool = Field(description="whether the change was written to disk, so that a restart does not undo it")


class LabelRow(Part):
    index: int
    id: str
    label: str


class ModelLabelList(Part):
    model: str
    version: str
    labels: list[LabelRow] = Field(description="in the order of the network's outputs")


class Liveness(Part):
    live: bool = Field(description="if false, the process must be started again")


class Readiness(Part):
    phase: Phase
    models: list[ModelState]


class ModelReadiness(Part):
    ready: bool
    models: list[ModelState]
