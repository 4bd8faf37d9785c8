"""The JSON of an answer is byte for byte what the parts of the contract would be."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bundle.predictions import Prediction, Vote
from server.answers import Answer, Classified
from server.errors import Code, ServingError
from server.rest.answers import ClassificationAnswer, JsonAnswer
from server.rest.contract import classification as c
from tests.support.faces import Running, running

pytestmark = pytest.mark.anyio

_ANSWER = Answer((Prediction(0, "n01443537", "goldfish", 0.93),), None, 1.9, 0.1, 1.6, 3.9, 1)
_ROWS = tuple(
    Prediction(number, f"id-{number}", label, probability)
    for number, (label, probability) in enumerate(
        [
            ('a "quoted" \\ name', 1.0),
            ("Käse \N{CHEESE WEDGE}", 0.30000001192092896),
            ("\x7f\n", 1e-5),
            ("", 1e-38),
            ("/", 0.0),
        ]
    )
)
_ANSWERS = [
    _ANSWER,
    dataclasses.replace(_ANSWER, predictions=_ROWS, decode_ms=0.00049, total_ms=123456.78949, batch=0),
    dataclasses.replace(_ANSWER, predictions=(), vote=Vote("indoor", 7, 10), queue_ms=1e-7, infer_ms=2.0),
]
_ERROR = ServingError(Code.BAD_IMAGE, "half a pair: \ud800; save it again.")


@pytest.fixture
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


def _expected(classified: Classified, answer: Answer) -> c.Classification:
    return c.Classification(
        model=classified.model,
        version=classified.version,
        predictions=[
            c.ClassPrediction(index=row.index, id=row.id, label=row.label, probability=row.probability)
            for row in answer.predictions
        ],
        group=c.GroupVote(name=answer.vote.group, votes=answer.vote.votes, of=answer.vote.voters)
        if answer.vote
        else None,
        timing_ms=c.StageTimes(
            decode=round(answer.decode_ms, 3),
            queue=round(answer.queue_ms, 3),
            infer=round(answer.infer_ms, 3),
            total=round(answer.total_ms, 3),
        ),
        batch=answer.batch,
    )


async def test_a_photo_is_answered_as_the_contract_writes_it(server: Running) -> None:
    classified = Classified(server.registry.repository.pick("", ""), list(_ANSWERS))
    for answer in _ANSWERS:
        one = dataclasses.replace(classified, outcomes=[answer])
        assert ClassificationAnswer(one, many=False).body == JsonAnswer(_expected(one, answer)).body
    other = dataclasses.replace(_ANSWER, batch=2)
    planted = ClassificationAnswer(dataclasses.replace(classified, outcomes=[other]), many=False).body
    assert planted != JsonAnswer(_expected(classified, _ANSWER)).body


async def test_several_photos_are_answered_as_the_contract_writes_them(server: Running) -> None:
    classified = Classified(server.registry.repository.pick("", ""), [*_ANSWERS, _ERROR])
    failed = c.FailedPhoto(
        error=c.PhotoProblem(status=422, code=Code.BAD_IMAGE, detail="half a pair: ?; save it again.")
    )
    expected = c.Classifications(results=[*(_expected(classified, answer) for answer in _ANSWERS), failed])
    assert ClassificationAnswer(classified, many=True).body == JsonAnswer(expected).body


async def test_the_error_of_a_photo_that_was_sent_alone_is_raised(server: Running) -> None:
    with pytest.raises(ServingError, match="half a pair"):
        ClassificationAnswer(Classified(server.registry.repository.pick("", ""), [_ERROR]), many=False)
