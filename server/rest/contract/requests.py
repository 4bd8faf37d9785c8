"""Requests: what clients may send. Bodies of photos are parsed by `bodies`, which a test holds to these models."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from server.scheduling.fair_queue import Priority

Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]
File = Annotated[str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]


class RequestFields(BaseModel):
    """What a request may ask for, in the query or in a JSON body. The query wins."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        default=None, description="a model or an alias; by default the default model, or the only one"
    )
    version: str | None = Field(
        default=None, description="a version of the model; by default the highest that is ready"
    )
    top_k: int | None = Field(default=None, ge=1, description="number of classes in the answer; by default 5")
    priority: Priority | None = Field(
        default=None,
        description="interactive (the default), or bulk for work that may wait behind interactive requests",
    )


class PhotoInJson(RequestFields):
    """One photo; the answer is a Classification."""

    image: Base64


class PhotosInJson(RequestFields):
    """Several photos; the answer is a list."""

    images: list[Base64] = Field(min_length=1)


class PhotosInForm(BaseModel):
    """Every part is a photo and needs a filename; the names of the parts do not matter."""

    image: list[File]


class ShareRequest(BaseModel):
    """A version that shall share the callers of an alias."""

    model_config = ConfigDict(extra="forbid")

    version: str
    weight: float = Field(gt=0, lt=100, description="per cent of the callers; together 100", allow_inf_nan=False)


class AliasRequest(BaseModel):
    """What an alias shall stand for."""

    model: str
    version: str | None = Field(default=None, description="without a version: always the newest that is ready")
    versions: list[ShareRequest] | None = Field(
        default=None, description="two to four versions that share the callers, instead of one version"
    )
    shadow: str | None = Field(default=None, description="a version that gets copies of photos and answers nobody")
