"""Classification: the answer to photos, and the errors of a photo and of a request."""

from typing import Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from server.errors import Code
from server.rest.contract.part import Part, not_always


class ProblemDocument(Part):
    """What went wrong with a request (RFC 9457)."""

    type: Literal["about:blank"] = "about:blank"
    title: str = Field(description="the name of the HTTP status")
    status: int = Field(description="the HTTP status")
    code: Code = Field(description="the name of the error")
    detail: str = Field(description="what is wrong with this request, and what to do about it")


class ClassPrediction(Part):
    index: int = Field(description="index of the class among the network's outputs")
    id: str = Field(description="stable id of the class, such as a WordNet id or a Places365 name")
    label: str = Field(description="name of the class")
    probability: float = Field(description="from 0 to 1")


class GroupVote(Part):
    name: str = Field(description="the group, such as indoor or outdoor")
    votes: int = Field(description="how many of those classes belong to it")
    of: int = Field(description="how many of those classes have a group")


class StageTimes(Part):
    decode: float = Field(description="from the encoded photo to pixels")
    queue: float = Field(description="from the pixels to the start of the batch")
    infer: float = Field(description="the whole batch in the engine")
    total: float = Field(description="from admission to the answer")


class Classification(Part):
    """The answer to one photo."""

    model: str = Field(description="the model that answered")
    version: str
    predictions: list[ClassPrediction] = Field(description="most probable first")
    group: GroupVote | SkipJsonSchema[None] = not_always(
        "the group of most of the ten most probable classes; only where the model's labels have groups"
    )
    timing_ms: StageTimes = Field(description="milliseconds by stage")
    batch: int = Field(description="number of images in the photo's batch; 0 if the answer was remembered")


class PhotoProblem(Part):
    status: int = Field(description="the HTTP status that this photo would have got alone")
    code: Code = Field(description="the name of the error")
    detail: str = Field(description="what is wrong with this photo, and what to do about it")


class FailedPhoto(Part):
    """One of several photos could not be classified."""

    error: PhotoProblem


class Classifications(Part):
    """The answer to several photos, in the order of the request."""

    results: list[Classification | FailedPhoto]
