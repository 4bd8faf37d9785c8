"""Answers: the service's outcomes and the catalogue's models as parts of the contract, and those as HTTP responses."""

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from bundle.predictions import Prediction, Vote
from server.answers import Answer, Classified
from server.errors import ServingError
from server.registry.catalogue import Catalogue
from server.registry.entry import Entry
from server.registry.loader import Loaded
from server.registry.target import Target
from server.rest.contract import models as m
from server.rest.problems import problem_document


class JsonAnswer(Response):
    """A part of the contract as JSON. Fields that are `None` are left out."""

    media_type = "application/json"

    def __init__(self, content: BaseModel, status: int = 200) -> None:
        super().__init__(content.__pydantic_serializer__.to_json(content, exclude_none=True), status)


class ClassificationAnswer(Response):
    """The answer to a request of photos: `Classifications` where `many`, else `Classification`.

    Every photo passes here, so its JSON is written without making those first. A test compares the two.
    """

    media_type = "application/json"

    def __init__(self, classified: Classified, many: bool) -> None:
        """Raises the ServingError of a photo that was sent alone."""
        super().__init__(to_json(_classification(classified, many)))


def _classification(classified: Classified, many: bool) -> dict[str, Any]:
    if many:
        return {"results": [_result(classified, outcome) for outcome in classified.outcomes]}
    (outcome,) = classified.outcomes
    if isinstance(outcome, ServingError):
        raise outcome.fresh()
    return photo_part(classified, outcome)


def _result(classified: Classified, outcome: Answer | ServingError) -> dict[str, Any]:
    if isinstance(outcome, ServingError):
        problem = problem_document(outcome)
        return {"error": {"status": problem.status, "code": problem.code, "detail": problem.detail}}
    return photo_part(classified, outcome)


def photo_part(classified: Classified, answer: Answer) -> dict[str, Any]:
    """A Classification."""
    return {
        "model": classified.model,
        "version": classified.version,
        "predictions": [prediction_part(best) for best in answer.predictions],
        **_group(answer.vote),
        "timing_ms": {
            "decode": round(answer.decode_ms, 3),
            "queue": round(answer.queue_ms, 3),
            "infer": round(answer.infer_ms, 3),
            "total": round(answer.total_ms, 3),
        },
        "batch": answer.batch,
    }


def prediction_part(best: Prediction) -> dict[str, Any]:
    """A ClassPrediction."""
    return {"index": best.index, "id": best.id, "label": best.label, "probability": best.probability}


def _group(vote: Vote | None) -> dict[str, Any]:
    return {"group": {"name": vote.group, "votes": vote.votes, "of": vote.voters}} if vote else {}


def model_state(entry: Entry) -> m.ModelState:
    """What readiness says of a model version."""
    failing = entry.ready is not None and entry.ready.queue.sick
    reason = "its engine fails; the server tries it again every half second" if failing else entry.reason
    return m.ModelState(model=entry.name, version=entry.version, state=entry.state, reason=reason)


def model_description(entry: Entry) -> m.ModelDescription:
    """All that operators are told of a model version."""
    state = model_state(entry)
    if entry.ready is None:
        return m.ModelDescription(**dict(state))
    loaded = entry.ready.loaded
    manifest = loaded.bundle.manifest
    return m.ModelDescription(
        **dict(state),
        architecture=manifest.architecture.name,
        parameters=manifest.architecture.parameters,
        macs=manifest.architecture.macs,
        labels=m.ModelLabels(set=manifest.labels.set, classes=manifest.labels.classes),
        input=_input(loaded),
        engine=_engine(loaded),
        parity=_parity(loaded),
        proofs=[m.GraphProof(**asdict(row)) for row in manifest.parity],
    )


def _input(loaded: Loaded) -> m.ModelInput:
    preprocessing = loaded.bundle.manifest.preprocessing
    return m.ModelInput(
        height=preprocessing.height,
        width=preprocessing.width,
        resize=preprocessing.resize,
        resize_to=preprocessing.resize_to,
        interpolation=preprocessing.interpolation,
    )


def _engine(loaded: Loaded) -> m.ModelEngine:
    return m.ModelEngine(
        name=loaded.engine.name,
        precision=loaded.engine.precision,
        why=loaded.choice.why,
        device=loaded.choice.device,
        copies=len(loaded.choice.engines),
        batch=loaded.batch,
    )


def _parity(loaded: Loaded) -> m.ModelParity:
    parity = loaded.parity
    return m.ModelParity(
        images=parity.images,
        max_dp=parity.max_dp,
        max_dlogp=parity.max_dlogp,
        top1_agreement=parity.top1_agreement,
        top5_agreement=parity.top5_agreement,
    )


def aliases(catalogue: Catalogue) -> dict[str, m.AliasTarget]:
    """What each alias stands for."""
    return {name: _target(version) for name, version in catalogue.aliases.all().items()}


def _target(target: Target) -> m.AliasTarget:
    shares = [m.VersionShare(version=share.version, weight=share.weight) for share in target.versions]
    return m.AliasTarget(
        model=target.model, version=target.version, versions=shares or None, shadow=target.shadow or None
    )
