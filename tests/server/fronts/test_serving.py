"""Two fronts and a core serve as one process does."""

import asyncio
import itertools
from pathlib import Path

import grpc
import httpx
import pytest

from tests.support.faces import Client, RestClient, RpcClient, rest_outcome, running
from tests.support.pictures import jpeg
from tests.support.published import publish
from tests.support.served_tree import FRONTS, Load, ServedTree, metric, until_metric

pytestmark = pytest.mark.anyio


async def versions(http: httpx.AsyncClient) -> list[tuple[str, str]]:
    models = (await http.get("/models/operated")).json()["models"]
    return [(model["version"], model["state"]) for model in models]


async def test_the_answers_of_both_faces_are_those_of_one_process(shared_tree: ServedTree, demo: Path) -> None:
    photos = [jpeg(seed) for seed in range(5)]
    async with running(demo.parents[1]) as one:
        expected = [await one.rest.classify(photo) for photo in photos]
    assert expected[0].indexes != expected[1].indexes
    async with shared_tree.client() as http, grpc.aio.insecure_channel(shared_tree.grpc) as channel:
        clients: list[Client] = [RestClient(http), RpcClient(channel)]
        for client, (photo, wanted) in itertools.product(clients, zip(photos, expected, strict=True)):
            found = await client.classify(photo)
            assert (found.code, found.indexes) == ("", wanted.indexes)
            assert [row[3] for row in found.predictions] == pytest.approx([row[3] for row in wanted.predictions], 1e-3)


async def test_each_front_says_what_the_core_serves(shared_tree: ServedTree) -> None:
    for front in FRONTS:
        async with shared_tree.client_of(front) as http:
            assert (await http.get("/livez")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
            (model,) = (await http.get("/models/demo")).json()["models"]
            assert (model["model"], model["version"], model["state"]) == ("demo", "1", "READY")
            assert model["engine"]["name"] == "onnxruntime-cpu"


def test_only_the_core_has_loaded_a_runtime(shared_tree: ServedTree) -> None:
    loaded = {name: Path(f"/proc/{pid}/maps").read_text() for name, pid in shared_tree.processes.items()}
    assert [name for name, maps in loaded.items() if "onnxruntime" in maps] == ["core"]


async def test_metrics_are_sums_over_the_processes_whoever_is_asked(shared_tree: ServedTree) -> None:
    names = ("sesame_admitted_total", "sesame_images_total", "sesame_requests_total", "sesame_stage_seconds_count")
    async with shared_tree.client_of("front-0") as one, shared_tree.client_of("front-1") as other:
        before = {name: await metric(one, name) for name in names}
        for http in (one, other, other):
            assert (await http.post("/classify", content=jpeg())).status_code == 200
        assert (await one.post("/classify", content=b"no photo")).status_code == 415
        for http in (one, other):
            more = {name: await metric(http, name) - value for name, value in before.items()}
            assert more["sesame_admitted_total"] == more["sesame_images_total"] == 4
            assert more["sesame_requests_total"] == 4
            assert await metric(http, "sesame_permits_taken") == 0


async def test_what_an_operator_does_at_one_front_holds_for_both(shared_tree: ServedTree, demo: Path) -> None:
    publish(demo, shared_tree.repository, 1, name="operated")
    publish(demo, shared_tree.repository, 2, name="operated")
    async with shared_tree.client_of("front-0") as one, shared_tree.client_of("front-1") as other:
        assert (await one.post("/admin/models/operated/load")).status_code == 200
        for http in (one, other):
            assert ("2", "READY") in await versions(http)
            assert (await http.post("/classify?model=operated", content=jpeg())).json()["version"] == "2"
        point = {"model": "operated", "version": "1"}
        assert (await other.put("/admin/aliases/stable", json=point)).json()["kept"]
        for http in (one, other):
            assert (await http.post("/classify?model=stable", content=jpeg())).json()["version"] == "1"
        assert (await one.delete("/admin/aliases/stable")).json()["aliases"] == {}
        assert (await other.post("/admin/models/nothing/load")).status_code == 404
        assert (await other.post("/admin/models/operated/unload")).status_code == 200
        for http in (one, other):
            assert not any(state == "READY" for _, state in await versions(http))
            refused = await http.post("/classify?model=operated", content=jpeg())
            assert (refused.status_code, rest_outcome(refused.json()).code) == (503, "not_ready")


async def test_a_new_version_takes_over_and_no_request_fails(shared_tree: ServedTree, demo: Path) -> None:
    publish(demo, shared_tree.repository, 1, name="renewed")
    async with shared_tree.client() as http:
        assert (await http.post("/admin/models/renewed/load")).status_code == 200
        load = Load(shared_tree, 8, model="renewed")
        await load.answered(16)
        for version in (2, 3):
            publish(demo, shared_tree.repository, version, name="renewed")
            assert (await http.post("/admin/models/renewed/load")).status_code == 200
            answer = await http.post("/classify?model=renewed", content=jpeg())
            assert answer.json()["version"] == str(version)
            await load.answered(16)
        await load.end()
        assert set(load.seen) == {"200"}, load.refusals
        assert await metric(http, "sesame_permits_taken") == 0


async def test_clients_that_leave_give_their_permits_back(shared_tree: ServedTree) -> None:
    async with shared_tree.client() as http:
        ended = await metric(http, "sesame_requests_total")
        for _ in range(4):
            async with shared_tree.client() as leaving:
                await leaving.get("/livez")
                asking = asyncio.create_task(leaving.post("/classify", content=jpeg()))
                while await metric(http, "sesame_admitted_total") == await metric(http, "sesame_images_total"):
                    if asking.done():
                        break
                asking.cancel()
        await until_metric(http, "sesame_permits_taken", 0)
        assert await metric(http, "sesame_requests_total") > ended
        assert await metric(http, "sesame_admitted_total") == await metric(http, "sesame_images_total")
