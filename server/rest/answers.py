"""Answers: the service's outcomes and the repository's models as JSON."""

from dataclasses import asdict
from typing import Any

from bundle.manifest import ParityRow
from bundle.predictions import Vote
from server.errors import ServingError
from server.repository import Entry, Repository
from server.rest.problems import document
from server.service import Answer, Classified


def answers(classified: Classified, many: bool) -> dict[str, Any]:
    """The body of a classification; raises the ServingError of a photo that was sent alone."""
    results = [_result(classified, outcome) for outcome in classified.outcomes]
    if many:
        return {"results": results}
    if isinstance(classified.outcomes[0], ServingError):
        raise classified.outcomes[0].fresh()
    return results[0]


def _result(classified: Classified, outcome: Answer | ServingError) -> dict[str, Any]:
    if isinstance(outcome, ServingError):
        problem = document(outcome)
        return {"error": {key: problem[key] for key in ("status", "code", "detail")}}
    return {
        "model": classified.model,
        "version": classified.version,
        "predictions": [
            {"index": best.index, "id": best.id, "label": best.label, "probability": best.probability}
            for best in outcome.predictions
        ],
        **_group(outcome.vote),
        "timing_ms": {
            "decode": round(outcome.decode_ms, 3),
            "queue": round(outcome.queue_ms, 3),
            "infer": round(outcome.infer_ms, 3),
            "total": round(outcome.total_ms, 3),
        },
        "batch": outcome.batch,
    }


def _group(vote: Vote | None) -> dict[str, Any]:
    """The group of the photo, nothing where the model's labels have none."""
    return {"group": {"name": vote.group, "votes": vote.votes, "of": vote.voters}} if vote else {}


def state(entry: Entry) -> dict[str, Any]:
    """What readiness says of a model version."""
    sick = entry.ready is not None and entry.ready.batcher.sick
    reason = "its engine fails; it is tried again every second" if sick else entry.reason
    return {"model": entry.name, "version": entry.version, "state": entry.state.value, "reason": reason}


def aliases(repository: Repository) -> dict[str, Any]:
    """What each alias stands for."""
    return {name: asdict(target) for name, target in repository.aliases.all().items()}


def described(entry: Entry) -> dict[str, Any]:
    """All that is told of a model version."""
    if entry.ready is None:
        return state(entry)
    manifest, loaded = entry.ready.loaded.bundle.manifest, entry.ready.loaded
    fit = manifest.preprocessing
    return {
        **state(entry),
        "architecture": manifest.architecture.name,
        "parameters": manifest.architecture.parameters,
        "macs": manifest.architecture.macs,
        "labels": {"set": manifest.labels.set, "classes": manifest.labels.classes},
        "input": {
            "height": fit.height,
            "width": fit.width,
            "resize": fit.resize,
            "resize_to": fit.resize_to,
            "interpolation": fit.interpolation,
        },
        "engine": {
            "name": loaded.engine.name,
            "precision": loaded.engine.precision,
            "why": loaded.choice.why,
            "device": loaded.choice.device,
            "copies": len(loaded.choice.engines),
            "batch": loaded.batch,
        },
        "parity": {
            "images": loaded.parity.images,
            "max_dp": loaded.parity.max_dp,
            "max_dlogp": loaded.parity.max_dlogp,
            "top1_agreement": loaded.parity.top1_agreement,
            "top5_agreement": loaded.parity.top5_agreement,
        },
        "proofs": [_proof(row) for row in manifest.parity],
    }


def _proof(row: ParityRow) -> dict[str, Any]:
    """What the export found of a graph in an engine."""
    return {key: value for key, value in asdict(row).items() if value is not None}
