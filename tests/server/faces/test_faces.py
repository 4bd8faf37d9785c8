"""Both faces: the same answers, the same errors."""

import asyncio
import base64
import dataclasses
import functools
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle import draft, files
from bundle.images import Pixels, to_picture
from bundle.predictions import Probabilities
from server.engines.choice import Choice
from server.engines.engine import Engine
from server.pb.sesame.v1 import classifier_pb2 as pb
from tests.support.faces import Outcome, Running, choose, held, rest_outcome, running
from tests.support.pictures import encoded, jpeg, picture

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("face", ["rest", "rpc"])


@pytest.fixture
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


@pytest.fixture
def two_models(demo: Path, tmp_path: Path) -> Path:
    """Bundles `demo` in versions 1 and 2, and `other`."""
    bundle = files.read(demo)
    contents = {path.name: path.read_bytes() for path in demo.iterdir() if path.name != "manifest.json"}
    draft.publish(tmp_path, bundle.manifest, contents)
    draft.publish(tmp_path, bundle.manifest, contents)
    draft.publish(tmp_path, dataclasses.replace(bundle.manifest, name="other"), contents)
    return tmp_path


@functools.cache
def engine_of(demo: Path) -> tuple[files.Bundle, Engine]:
    bundle = files.read(demo)
    return bundle, choose(bundle).engine


@functools.cache
def alone(demo: Path, photo: bytes) -> Probabilities:
    """The engine's answer to a photo by itself, (classes,)."""
    bundle, engine = engine_of(demo)
    rows = engine.run(to_picture(photo, bundle.manifest.preprocessing, 50_000_000, exact=False)[None])
    row: Probabilities = rows[0]
    return row


@both
async def test_a_photo_gets_its_top_five_with_labels(face: str, server: Running, demo: Path) -> None:
    photo = jpeg(3)
    expected = alone(demo, photo)
    labels = files.read(demo).labels
    outcome = await server.client(face).classify(photo)
    assert (outcome.model, outcome.version, outcome.batch) == ("demo", "1", 1)
    assert outcome.indexes == list(np.argsort(-expected, kind="stable")[:5])
    for index, id, label, probability in outcome.predictions:
        assert (id, label) == (labels[index].id, labels[index].name)
        assert probability == pytest.approx(float(expected[index]), abs=1e-5)


async def test_every_form_of_a_request_gets_the_same_answer(server: Running) -> None:
    photo = encoded(picture(seed=4), "PNG")
    text = base64.b64encode(photo).decode()
    http = server.rest.http
    answers = [
        (await http.post("/classify", content=photo)).json(),
        (await http.post("/classify", content=photo, headers={"Content-Type": "image/png"})).json(),
        (await http.post("/classify", content=photo, headers={"Content-Type": "application/octet-stream"})).json(),
        (
            await http.post("/classify", content=photo, headers={"Content-Type": "application/x-www-form-urlencoded"})
        ).json(),
        (await http.post("/classify", json={"image": text})).json(),
        *(await http.post("/classify", json={"images": [text, text]})).json()["results"],
        *(await http.post("/classify", files={"any": ("a.png", photo)})).json()["results"],
        *(await http.post("/classify", files=[("a", ("a.png", photo)), ("b", ("b.png", photo))])).json()["results"],
    ]
    assert len(answers) == 10
    outcomes = [rest_outcome(answer) for answer in answers] + [await server.rpc.classify(photo)]
    for outcome in outcomes:
        assert outcome.indexes == outcomes[0].indexes
        assert [p for *_, p in outcome.predictions] == pytest.approx([p for *_, p in outcomes[0].predictions], abs=1e-5)


async def test_an_answer_tells_where_its_time_went(server: Running) -> None:
    answer = (await server.rest.http.post("/classify", content=jpeg())).json()
    timing = answer["timing_ms"]
    assert set(answer) == {"model", "version", "predictions", "timing_ms", "batch"}
    assert set(timing) == {"decode", "queue", "infer", "total"}
    assert timing["total"] >= timing["decode"] + timing["queue"] + timing["infer"] > 0
    grpc_timing = (await server.rpc.stub.Classify(pb.ClassifyRequest(image=jpeg(), id="mine"))).timing
    assert grpc_timing.total_ms >= grpc_timing.decode_ms + grpc_timing.infer_ms > 0


async def test_one_bad_photo_fails_alone(server: Running) -> None:
    parts = [
        ("a", ("a.jpg", jpeg())),
        ("b", ("b.jpg", jpeg()[:-300])),
        ("c", ("c.gif", b"GIF89a")),
        ("d", ("d", jpeg(1))),
    ]
    response = await server.rest.http.post("/classify", files=parts)
    results = response.json()["results"]
    assert response.status_code == 200
    assert ["error" in result for result in results] == [False, True, True, False]
    assert results[1]["error"].keys() == {"status", "code", "detail"}
    assert [(result["error"]["status"], result["error"]["code"]) for result in results[1:3]] == [
        (422, "bad_image"),
        (415, "unsupported_type"),
    ]


@both
async def test_top_k_is_obeyed_and_never_clipped(face: str, server: Running) -> None:
    client = server.client(face)
    assert len((await client.classify(jpeg(), top_k=1)).predictions) == 1
    everything = await client.classify(jpeg(), top_k=200)
    assert len(everything.predictions) == 200
    assert sum(p for *_, p in everything.predictions) == pytest.approx(1, abs=1e-4)
    refused = await client.classify(jpeg(), top_k=201)
    assert (refused.code, refused.detail) == ("malformed", "top_k must be from 1 to 200, the number of classes.")


@both
async def test_the_model_and_version_are_chosen(face: str, two_models: Path) -> None:
    async with running(two_models, keep_versions=0) as server:
        client = server.client(face)
        assert (await client.models()) == [("demo", "1", "READY"), ("demo", "2", "READY"), ("other", "1", "READY")]
        for asked, got in {
            ("demo", ""): ("demo", "2"),
            ("demo", "1"): ("demo", "1"),
            ("other", ""): ("other", "1"),
        }.items():
            outcome = await client.classify(jpeg(), model=asked[0], version=asked[1])
            assert (outcome.model, outcome.version) == got
        unclear = await client.classify(jpeg())
        assert (unclear.code, unclear.detail) == ("malformed", "Say which model: demo, other.")
        assert (await client.classify(jpeg(), model="demo", version="v1")).code == "malformed"
        for model, version in (("nowhere", ""), ("demo", "3"), ("demo", "01")):
            assert (await client.classify(jpeg(), model=model, version=version)).code == "unknown_model"


@both
async def test_only_the_newest_version_is_loaded_unless_more_are_wanted(face: str, two_models: Path) -> None:
    async with running(two_models) as server:
        client = server.client(face)
        assert (await client.models()) == [("demo", "1", "UNLOADED"), ("demo", "2", "READY"), ("other", "1", "READY")]
        older = await client.classify(jpeg(), model="demo", version="1")
        assert (older.code, older.detail) == (
            "not_ready",
            "The model 'demo' is not loaded in this version: see /models for those that are.",
        )


@both
async def test_the_default_model_answers_requests_that_name_none(face: str, two_models: Path) -> None:
    async with running(two_models, default_model="other") as server:
        assert (await server.client(face).classify(jpeg())).model == "other"


async def test_the_query_wins_over_json(two_models: Path) -> None:
    async with running(two_models, keep_versions=0) as server:
        body = {"image": base64.b64encode(jpeg()).decode(), "model": "other", "top_k": 2}
        mixed = (await server.rest.http.post("/classify?model=demo&version=1", json=body)).json()
        assert (mixed["model"], mixed["version"], len(mixed["predictions"])) == ("demo", "1", 2)


class Unhurried:
    """Takes so long for each batch that images come meanwhile, and that large batches are the best on any machine."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.precision, self._run = engine.name, engine.precision, engine.run

    def run(self, pixels: Pixels) -> Probabilities:
        time.sleep(0.02)
        return self._run(pixels)


@both
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.7))
def test_of_64_at_once_whoever_stays_gets_the_own_answer_in_shared_batches(
    face: str, seed: int, share: float, demo: Path
) -> None:
    chance = random.Random(seed)
    photos = [jpeg(seed) for seed in range(64)]
    leaving = [chance.random() < share for _ in photos]

    async def scenario() -> None:
        async with running(demo.parents[1], lambda bundle: Choice(Unhurried(choose(bundle).engine), "")) as server:
            client = server.client(face)
            tasks = [asyncio.create_task(client.classify(photo)) for photo in photos]
            for task, leaves in zip(tasks, leaving, strict=True):
                if leaves:
                    await asyncio.sleep(chance.random() / 300)
                    task.cancel()
            await asyncio.wait(tasks)
            outcomes = [None if task.cancelled() else task.result() for task in tasks]
            check(outcomes)
            await server.until("sesame_permits_taken", 0)
            batches = await server.metric("sesame_batch_images_count")
            images = await server.metric("sesame_batch_images_sum")
            assert images / batches > 1

    def check(outcomes: list[Outcome | None]) -> None:
        for photo, outcome, leaves in zip(photos, outcomes, leaving, strict=True):
            assert leaves or outcome is not None
            if outcome is not None:
                expected = alone(demo, photo)
                assert outcome.indexes[0] == int(expected.argmax())
                for index, _, _, probability in outcome.predictions:
                    assert abs(probability - float(expected[index])) < 1e-5

    asyncio.run(scenario())


@both
async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(face: str, demo: Path) -> None:
    async with held(demo, queue_images=4, max_images=4) as (server, engine):
        client = server.client(face)
        admitted = [asyncio.create_task(client.classify(jpeg())) for _ in range(4)]
        await server.until("sesame_permits_taken", 4)
        assert (await client.classify(jpeg())).code == "queue_full"
        response = await server.rest.http.post("/classify", content=jpeg())
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await server.rpc.stub.Classify(pb.ClassifyRequest(image=jpeg()))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.value.trailing_metadata() or ())["grpc-retry-pushback-ms"]) >= 1
        engine.gate.release(8)
        assert all(not outcome.code for outcome in await asyncio.gather(*admitted))
        assert not (await client.classify(jpeg())).code


@both
async def test_a_deadline_is_answered_at_once_and_its_place_comes_back_later(face: str, demo: Path) -> None:
    async with held(demo) as (server, engine):
        late = await server.client(face).classify(jpeg(), timeout_ms=60)
        assert late.code == "deadline"
        assert await server.metric("sesame_permits_taken") == 1
        engine.gate.release()
        await server.until("sesame_permits_taken", 0)


@both
async def test_a_caller_who_leaves_is_noticed(face: str, demo: Path) -> None:
    async with held(demo) as (server, engine):
        first = asyncio.create_task(server.rest.classify(jpeg()))
        await asyncio.to_thread(engine.entered.wait, 20)
        leaving = asyncio.create_task(server.client(face).classify(jpeg()))
        await server.until("sesame_permits_taken", 2)
        leaving.cancel()
        await server.until("sesame_permits_taken", 1)  # it was only waiting: its place is free at once
        engine.gate.release()
        assert not (await first).code
        assert await server.metric("sesame_images_total", 'outcome="gone"') == 1


@both
async def test_a_failing_engine_is_an_error_of_its_batch_alone(face: str, demo: Path) -> None:
    async with held(demo) as (server, engine):
        client = server.client(face)
        engine.gate.release(2)
        engine.failing = True
        failed = await client.classify(jpeg())
        assert failed.code == "engine_failed"
        assert "secret" not in failed.detail
        engine.failing = False
        assert not (await client.classify(jpeg())).code


@both
async def test_a_bug_is_told_without_its_insides(face: str, demo: Path) -> None:
    def choose_and_spoil(bundle: files.Bundle) -> Choice:
        object.__setattr__(bundle, "labels", bundle.labels[:1])
        return choose(bundle)

    async with running(demo.parents[1], choose_and_spoil) as server:
        outcome = await server.client(face).classify(jpeg())
        assert (outcome.code, outcome.detail) == ("internal", "The server made a mistake; its log has the details.")
