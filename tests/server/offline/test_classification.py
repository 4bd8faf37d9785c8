"""Classification in this process: full batches, and an engine that hangs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from bundle.files import Bundle
from server.answers import Answer
from server.engines.choice import Choice
from server.offline import photo_files
from server.offline.classification import Classification, Failure, Hung, Outcome
from server.offline.local_model import LocalModel
from server.scheduling.batcher import Batcher
from server.settings import Settings
from tests.support.faces import Held
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio


def held(demo: Path, cache: Path, engine_limit_s: int) -> tuple[LocalModel, Held]:
    """The demo over an engine that can be held up."""
    engines: list[Held] = []

    def choose(bundle: Bundle) -> Choice:
        engines.append(Held(bundle))
        return Choice(engines[0], "a test's")

    settings = Settings(
        model_repository=demo.parents[1], cache_dir=cache, engine_limit_s=engine_limit_s, decode_limit_s=600
    )
    model = LocalModel(settings, "", "", choose)
    return model, engines[0]


def photos(folder: Path, count: int) -> list[photo_files.PhotoFile]:
    for seed in range(count):
        (folder / f"{seed:04}.jpg").write_bytes(jpeg(seed))
    return photo_files.find([folder])


async def collected(outcomes: AsyncGenerator[Outcome, None]) -> list[Outcome]:
    return [outcome async for outcome in outcomes]


async def test_photos_gather_while_the_engine_is_busy_and_the_next_batches_are_full(demo: Path, tmp_path: Path) -> None:
    model, engine = held(demo, tmp_path / "cache", 3600)
    (tmp_path / "photos").mkdir()
    files = photos(tmp_path / "photos", model.ahead)
    engine.closed = True
    asking = asyncio.create_task(collected(Classification(model, None).outcomes(files)))
    await asyncio.to_thread(engine.entered.wait)
    assert model.entry.ready
    batcher = model.entry.ready.queue
    assert isinstance(batcher, Batcher)
    while batcher.queue.waiting() < model.loaded.batch:  # besides those that the engine has, and a batch behind them
        await asyncio.sleep(0.01)
    engine.gate.release(len(files))
    outcomes = await asking
    assert [outcome.path for outcome in outcomes] == [file.path for file in files]
    answers = [outcome.result for outcome in outcomes if isinstance(outcome.result, Answer)]
    assert len(answers) == len(files)
    assert max(answer.batch for answer in answers) == model.loaded.batch


async def test_an_engine_that_hangs_ends_it(demo: Path, tmp_path: Path) -> None:
    model, engine = held(demo, tmp_path / "cache", 1)
    engine.closed = True
    (tmp_path / "photos").mkdir()
    async with aclosing(Classification(model, None).outcomes(photos(tmp_path / "photos", 1))) as outcomes:
        with pytest.raises(Hung, match="an engine hangs"):
            await collected(outcomes)
    engine.gate.release(100)


async def test_a_folder_that_cannot_be_read_is_an_outcome(demo: Path, tmp_path: Path) -> None:
    model, _ = held(demo, tmp_path / "cache", 3600)
    file = photo_files.PhotoFile(tmp_path, "It cannot be read (Permission denied).")
    (outcome,) = await collected(Classification(model, None).outcomes([file]))
    assert outcome == Outcome(tmp_path, Failure("unreadable", file.fault))
