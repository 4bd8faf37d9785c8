"""Messages: the service's outcomes and the catalogue's models as protobuf."""

from bundle.predictions import Prediction
from server.answers import Answer, Classified
from server.errors import ServingError
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.registry.catalogue import Catalogue
from server.registry.entry import Entry


def response(request_id: str, classified: Classified) -> pb.ClassifyResponse:
    """The answer to a request of one photo. Raises that photo's ServingError."""
    (answer,) = classified.outcomes
    if isinstance(answer, ServingError):
        raise answer.fresh()
    return pb.ClassifyResponse(
        id=request_id,
        model=classified.model,
        version=classified.version,
        predictions=[prediction(best) for best in answer.predictions],
        group=_group(answer),
        timing=pb.Timing(
            decode_ms=answer.decode_ms,
            queue_ms=answer.queue_ms,
            infer_ms=answer.infer_ms,
            total_ms=answer.total_ms,
            batch=answer.batch,
        ),
    )


def prediction(best: Prediction) -> pb.Prediction:
    return pb.Prediction(index=best.index, id=best.id, label=best.label, probability=best.probability)


def _group(answer: Answer) -> pb.Group | None:
    vote = answer.vote
    return pb.Group(name=vote.group, votes=vote.votes, of=vote.voters) if vote else None


def models(catalogue: Catalogue) -> pb.ListModelsResponse:
    return pb.ListModelsResponse(
        models=[_model(entry) for entry in catalogue.entries()],
        aliases=[
            pb.Alias(
                name=name,
                model=target.model,
                version=target.version,
                versions=[pb.VersionShare(version=share.version, weight=share.weight) for share in target.versions],
                shadow=target.shadow,
            )
            for name, target in catalogue.aliases.all().items()
        ],
    )


def _model(entry: Entry) -> pb.Model:
    model = pb.Model(name=entry.name, version=entry.version, state=entry.state.value, reason=entry.reason)
    if entry.ready:
        manifest, engine = entry.ready.loaded.bundle.manifest, entry.ready.loaded.engine
        model.classes, model.label_set = manifest.labels.classes, manifest.labels.set
        model.height, model.width = manifest.preprocessing.height, manifest.preprocessing.width
        model.engine, model.precision = engine.name, engine.precision
    return model
