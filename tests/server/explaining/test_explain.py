"""Explanations over both faces: the answer of /classify, and how the network came to it."""

import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from bundle.manifest import Manifest
from explain.explanation import Wanted
from server.errors import Code, ServingError
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.scheduling.fair_queue import Caller
from server.service import RequestOptions
from tests.support.faces import Running, held, rest_outcome, rpc_outcome, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio

BLOCKS = 8


@pytest.fixture(scope="module")
async def server(demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


async def explain(server: Running, photo: bytes, **query: Any) -> dict[str, Any]:
    answer = await server.rest.http.post("/explain", content=photo, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@contextlib.asynccontextmanager
async def stopped(server: Running) -> AsyncIterator[Callable[[], None]]:
    """The process that explains stands still until the function is called."""
    await explain(server, jpeg())
    assert server.app.parts.explainer
    pid = server.app.parts.explainer.worker.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    try:
        yield go_on
    finally:
        go_on()


async def test_a_full_server_refuses_explanations_as_bulk_work(demo: Path) -> None:
    async with held(demo, queue_images=64, max_images=1) as (server, engine):
        waiting = [asyncio.create_task(server.rest.classify(jpeg(seed))) for seed in range(64)]
        await server.until("sesame_permits_taken", 64)
        refused = await server.rest.http.post("/explain", content=jpeg(99))
        assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
        engine.gate.release(1000)
        assert all(not outcome.code for outcome in await asyncio.gather(*waiting))
        assert (await server.rest.http.post("/explain", content=jpeg(99))).status_code == 200


async def test_every_explanation_is_counted(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        await explain(server, jpeg())
        for query in ({"class": "200"}, {"class": "3"}):
            await server.rest.http.post("/explain", content=jpeg(), params=query)
        assert await server.metric("sesame_admitted_total") == 3
        assert await server.metric("sesame_images_total", 'outcome="ok"') == 2
        assert await server.metric("sesame_images_total", 'outcome="malformed"') == 1
        assert await server.metric("sesame_permits_taken") == 0


async def test_the_predictions_are_those_of_classify(server: Running) -> None:
    expected = await server.rest.classify(jpeg(1))
    found = await explain(server, jpeg(1))
    told = rest_outcome(found).predictions
    assert [row[:3] for row in told] == [row[:3] for row in expected.predictions]
    assert [row[3] for row in told] == pytest.approx([row[3] for row in expected.predictions], rel=1e-3)
    assert found["class"]["index"] == expected.indexes[0]
    assert found["class"]["probability"] == pytest.approx(expected.predictions[0][3], rel=1e-3)
    assert (found["map"]["rows"], found["map"]["columns"]) == (4, 4)
    assert [len(found["excitations"]), found["explain_ms"] > 0] == [BLOCKS, True]
    assert "overlay_png" not in found and "gates" not in found["excitations"][0]


async def test_a_class_can_be_asked_for_with_an_overlay_and_all_gates(server: Running) -> None:
    found = await explain(server, jpeg(1, width=200, height=100), **{"class": 7}, overlay="true", gates="full")
    assert found["class"]["index"] == 7
    image = Image.open(io.BytesIO(base64.b64decode(found["overlay_png"])))
    assert (image.format, image.size) == ("PNG", (200, 100))
    for block in found["excitations"]:
        assert len(block["gates"]) == block["channels"]
        assert block["mean"] == pytest.approx(np.mean(block["gates"]), abs=1e-6)


async def test_grpc_tells_the_same(server: Running) -> None:
    rest = await explain(server, jpeg(2), **{"class": 7}, overlay="true", gates="full", top_k=3)
    photo = pb.ClassifyRequest(image=jpeg(2), top_k=3, id="mine")
    request = pb.ExplainRequest(photo=photo, class_index=7, overlay=True, all_gates=True)
    found = await server.rpc.stub.Explain(request)
    assert (found.classified.id, found.explained.index, len(found.classified.predictions)) == ("mine", 7, 3)
    assert [best.index for best in found.classified.predictions] == [best["index"] for best in rest["predictions"]]
    assert list(found.map.values) == pytest.approx([value for row in rest["map"]["values"] for value in row], rel=1e-5)
    assert found.map.region.left == pytest.approx(rest["map"]["region"]["left"])
    assert found.overlay_png == base64.b64decode(rest["overlay_png"])
    for block, expected in zip(found.excitations, rest["excitations"], strict=True):
        assert (block.block, block.channels) == (expected["block"], expected["channels"])
        assert list(block.gates) == pytest.approx(expected["gates"], rel=1e-5)
        assert block.strongest[0].channel == expected["strongest"][0]["channel"]


async def test_class_0_can_be_asked_for_over_grpc(server: Running) -> None:
    found = await server.rpc.stub.Explain(pb.ExplainRequest(photo=pb.ClassifyRequest(image=jpeg()), class_index=0))
    assert found.explained.index == 0


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"class": "200"}, "from 0 to 199"),
        ({"class": "cat"}, "whole number"),
        ({"class": "9" * 5000}, "whole number"),
        ({"overlay": "yes"}, "true or false"),
        ({"gates": "some"}, "only be full"),
        ({"top_k": "0"}, "top_k"),
    ],
)
async def test_what_cannot_be_asked_for_is_malformed(server: Running, query: dict[str, str], detail: str) -> None:
    answer = await server.rest.http.post("/explain", content=jpeg(), params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert detail in answer.json()["detail"]


async def test_one_photo_is_explained_however_it_is_sent(server: Running) -> None:
    post, photo = server.rest.http.post, jpeg(3)
    expected = (await explain(server, photo))["map"]
    one = await post("/explain", files={"photo": ("a.jpg", photo)})
    text = await post("/explain", json={"image": base64.b64encode(photo).decode()})
    assert one.json()["map"] == text.json()["map"] == expected
    two = await post("/explain", files=[("photo", ("a.jpg", photo)), ("photo", ("b.jpg", photo))])
    assert (two.status_code, two.json()["code"]) == (400, "malformed")


async def test_a_bad_photo_is_the_error_that_classify_gives(server: Running) -> None:
    for photo in (b"no photo at all", jpeg()[:200], b""):
        expected = await server.rest.http.post("/classify", content=photo)
        found = await server.rest.http.post("/explain", content=photo)
        assert (found.status_code, found.json()) == (expected.status_code, expected.json())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.rpc.stub.Explain(pb.ExplainRequest(photo=pb.ClassifyRequest(image=photo)))
        assert rpc_outcome(caught.value).code == expected.json()["code"]


async def test_an_older_bundle_is_classified_and_not_explained(demo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(demo, tmp_path / "old" / "1")
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    blocks = tuple(dataclasses.replace(block, gate=None) for block in manifest.architecture.se_blocks)
    architecture = dataclasses.replace(manifest.architecture, se_blocks=blocks)
    old = dataclasses.replace(manifest, name="old", architecture=architecture, head=None)
    (folder / "manifest.json").write_text(old.to_json())
    async with running(tmp_path) as server:
        assert (await server.rest.classify(jpeg())).code == ""
        answer = await server.rest.http.post("/explain", content=jpeg())
        assert (answer.status_code, answer.json()["code"]) == (422, "not_explainable")
        assert "export it again" in answer.json()["detail"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.rpc.stub.Explain(pb.ExplainRequest(photo=pb.ClassifyRequest(image=jpeg())))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_without_a_linear_head_there_are_excitations_and_a_reason(demo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(demo, tmp_path / "other" / "1")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["head"]
    (folder / "manifest.json").write_text(json.dumps(manifest | {"name": "other"}))
    async with running(tmp_path) as server:
        found = await explain(server, jpeg(), overlay="true")
        assert "map" not in found and "overlay_png" not in found
        assert "no map" in found["map_missing"]
        assert len(found["excitations"]) == BLOCKS
        answer = await server.rpc.stub.Explain(pb.ExplainRequest(photo=pb.ClassifyRequest(image=jpeg()), overlay=True))
        assert not answer.HasField("map") and not answer.overlay_png


async def test_explanations_can_be_switched_off(demo: Path) -> None:
    async with running(demo.parents[1], explain=False) as server:
        answer = await server.rest.http.post("/explain", content=jpeg())
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_path")
        assert "/explain" not in (await server.rest.http.get("/openapi.json")).json()["paths"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.rpc.stub.Explain(pb.ExplainRequest(photo=pb.ClassifyRequest(image=jpeg())))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_more_than_a_few_at_a_time_are_refused(demo: Path) -> None:
    async with running(demo.parents[1]) as server, stopped(server) as go_on:
        first = [asyncio.create_task(server.rest.http.post("/explain", content=jpeg(seed))) for seed in range(8)]
        await server.until("sesame_permits_taken", 8)
        refused = await server.rest.http.post("/explain", content=jpeg(9))
        assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
        assert int(refused.headers["Retry-After"]) >= 1
        go_on()
        assert [answer.status_code for answer in await asyncio.gather(*first)] == [200] * 8
        assert (await server.rest.http.post("/explain", content=jpeg(9))).status_code == 200


async def test_a_caller_that_leaves_gives_its_place_back_and_keeps_no_turn(server: Running) -> None:
    explainer = server.app.parts.explainer
    assert explainer
    loop = asyncio.get_running_loop()
    for _ in range(20):
        options = RequestOptions(loop.time() + 600, Caller())
        calls = [asyncio.create_task(explainer.explain(jpeg(seed), options, Wanted())) for seed in range(4)]
        await asyncio.sleep(0)
        calls[0].cancel()
        calls[3].cancel()
        await asyncio.gather(*calls[1:3])
        await asyncio.gather(*calls, return_exceptions=True)
    await explainer.idle()


async def test_a_deadline_that_passes_while_others_are_explained_is_told(server: Running) -> None:
    explainer = server.app.parts.explainer
    assert explainer
    loop = asyncio.get_running_loop()
    later = RequestOptions(loop.time() + 600, Caller())
    calls = [asyncio.create_task(explainer.explain(jpeg(seed), later, Wanted(overlay=True))) for seed in range(7)]
    with pytest.raises(ServingError) as caught:
        await explainer.explain(jpeg(8), RequestOptions(loop.time() + 0.001, Caller()), Wanted())
    assert caught.value.code is Code.DEADLINE
    assert all(answer.explanation.overlay_png for answer in await asyncio.gather(*calls))


async def test_admitted_explanations_are_answered_before_the_server_ends(demo: Path) -> None:
    async with running(demo.parents[1]) as server, stopped(server) as go_on:
        asked = asyncio.create_task(server.rest.http.post("/explain", content=jpeg()))
        await server.until("sesame_permits_taken", 1)
        server.app.leave()
        go_on()
        assert (await asked).status_code == 200
        assert await server.task == 0
