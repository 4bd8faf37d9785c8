"""Two versions share the callers of an alias, over both faces and both protocols, and their answers are compared."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bundle.files import Bundle
from bundle.images import Pixels
from bundle.predictions import Probabilities
from server.engines.choice import Choice
from server.exchange import MOST_CALLER_ID, Exchange
from server.pb.inference import grpc_service_pb2 as oip
from server.pb.inference import grpc_service_pb2_grpc as oip_grpc
from server.pb.sesame.v1 import classifier_pb2 as pb
from server.registry.target import Share, Target
from tests.support.faces import KnowsProbe, Running, running
from tests.support.pictures import jpeg
from tests.support.published import publish
from tests.support.versions import TOKEN, compared, point, publish_two, rotate_labels, shares

pytestmark = pytest.mark.anyio

CALLERS = [f"caller-{number}" for number in range(100)]
HALVES = Target("demo", "", (Share("1", 50), Share("2", 50)))
FACES = ("rest", "rpc", "v2 rest", "v2 rpc")


class Breaks(KnowsProbe):
    """While broken, it fails every batch."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.broken = False

    def run(self, pixels: Pixels) -> Probabilities:
        if self.broken:
            raise OSError("broken")
        return super().run(pixels)


def choose(bundle: Bundle) -> Choice:
    return Choice(KnowsProbe(bundle), "")


@pytest.fixture
async def server(demo: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(publish_two(demo, tmp_path), choose, admin_token=TOKEN) as server:
        yield server


async def version(server: Running, face: str, caller: str | None) -> str:
    """Which version answers a photo of this caller."""
    metadata = (("x-caller-id", caller),) if caller else ()
    headers = {"X-Caller-Id": caller} if caller else {}
    http, photo = server.rest.http, jpeg()
    if face == "rest":
        answer = await http.post("/classify?model=stable", content=photo, headers=headers)
        return str(answer.json()["version"])
    if face == "rpc":
        request = pb.ClassifyRequest(image=photo, model="stable")
        return str((await server.rpc.stub.Classify(request, metadata=metadata)).version)
    pixels = bytes(64 * 64 * 3)
    tensor: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3]}
    if face == "v2 rest":
        asked = {"inputs": [{**tensor, "data": [0] * len(pixels)}]}
        answer = await http.post("/v2/models/stable/infer", json=asked, headers=headers)
        return str(answer.json()["model_version"])
    stub = oip_grpc.GRPCInferenceServiceStub(server.rpc.channel)  # type: ignore[no-untyped-call]
    message = oip.ModelInferRequest(model_name="stable", raw_input_contents=[pixels])
    message.inputs.add(**tensor)
    return str((await stub.ModelInfer(message, metadata=metadata)).model_version)


@pytest.mark.parametrize("face", FACES)
async def test_callers_share_the_versions_and_each_keeps_its_own(face: str, server: Running) -> None:
    assert (await point(server.rest.http, "stable", versions=shares(50))).status_code == 200
    for caller in CALLERS[:40]:
        expected = HALVES.preferred("stable", caller)[0]
        assert {await version(server, face, caller) for _ in range(2)} == {expected}, caller
    assert {HALVES.preferred("stable", caller)[0] for caller in CALLERS[:40]} == {"1", "2"}


@pytest.mark.parametrize("face", FACES)
async def test_whoever_names_no_caller_is_known_by_the_address(face: str, server: Running) -> None:
    await point(server.rest.http, "stable", versions=shares(50))
    assert await version(server, face, None) == HALVES.preferred("stable", "127.0.0.1")[0]


def test_of_a_callers_id_only_the_beginning_counts() -> None:
    long = "x" * MOST_CALLER_ID
    assert Exchange(address="10.0.0.1", caller_id=long + "y").identity == long
    assert Exchange(address="10.0.0.1").identity == "10.0.0.1"


async def test_a_larger_weight_moves_callers_to_that_version_only(server: Running) -> None:
    seen: dict[str, list[str]] = {caller: [] for caller in CALLERS}
    for main in (95, 70, 30, 5):
        await point(server.rest.http, "stable", versions=shares(main))
        for caller, versions in seen.items():
            versions.append(await version(server, "rest", caller))
    assert all(versions == sorted(versions) for versions in seen.values())
    moved = [sum(versions[step] == "2" for versions in seen.values()) for step in range(4)]
    assert moved == sorted(moved) and moved[0] < 20 and moved[-1] > 80


async def test_both_versions_of_an_alias_are_loaded_and_kept_and_leave_with_it(demo: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        publish(demo, tmp_path, number)
    async with running(tmp_path, choose, admin_token=TOKEN) as server:

        async def states() -> list[str]:
            await server.registry.deployer.refresh()
            return [state for _, _, state in await server.rest.models()]

        assert await states() == ["UNLOADED", "UNLOADED", "READY"]
        file = tmp_path / "aliases.json"
        file.write_text(json.dumps({"stable": {"model": "demo", "versions": shares(95)}}))
        assert await states() == ["READY", "READY", "READY"]
        refused = await server.rest.http.post(
            "/admin/models/demo/unload?version=2", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert refused.status_code == 409
        assert "The alias 'stable' stands for version 2" in refused.json()["detail"]
        file.write_text(json.dumps({"stable": {"model": "demo", "version": "3"}}))
        assert await states() == ["UNLOADED", "UNLOADED", "READY"]


async def test_the_other_version_serves_while_one_cannot_be_loaded(demo: Path, tmp_path: Path) -> None:
    publish(demo, tmp_path, 1)
    publish(demo, tmp_path, 2, spoilt=True)
    (tmp_path / "aliases.json").write_text(json.dumps({"stable": {"model": "demo", "versions": shares(50)}}))
    async with running(tmp_path, choose) as server:
        assert {await version(server, "rest", caller) for caller in CALLERS} == {"1"}
        assert (await server.rest.http.get("/models/stable/ready")).status_code == 200


async def test_the_other_version_serves_while_an_engine_fails(demo: Path, tmp_path: Path) -> None:
    engines: list[Breaks] = []

    def choose_breaking(bundle: Bundle) -> Choice:
        engines.append(Breaks(bundle))
        return Choice(engines[-1], bundle.manifest.version)

    async with running(publish_two(demo, tmp_path), choose_breaking, admin_token=TOKEN, keep_versions=2) as server:
        await point(server.rest.http, "stable", versions=shares(50))
        canary = next(entry for entry in server.registry.repository.entries() if entry.version == "2").ready
        assert canary
        engine = canary.loaded.engine
        assert isinstance(engine, Breaks)
        engine.broken = True
        theirs = next(caller for caller in CALLERS if HALVES.preferred("stable", caller)[0] == "2")
        headers = {"X-Caller-Id": theirs}
        failed = [
            (await server.rest.http.post("/classify?model=stable", content=jpeg(seed), headers=headers)).json()
            for seed in range(3)
        ]
        assert {answer["code"] for answer in failed} == {"engine_failed"}
        assert await version(server, "rest", theirs) == "1"
        assert (await server.rest.http.get("/models/stable/ready")).status_code == 200
        engine.broken = False
        while await version(server, "rest", theirs) != "2":  # the server finds out by itself
            await asyncio.sleep(0.01)
        (told,) = (await compared(server.rest.http))["canaries"]
        assert told["failures"]["value"] > 0
        await totals_add_up(server)


async def totals_add_up(server: Running) -> None:
    admitted, ended = await server.metric("sesame_admitted_total"), await server.metric("sesame_images_total")
    assert admitted == ended > 0


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a sum": ({"versions": [*shares(95), {"version": "3", "weight": 5}]}, 400, "must add up to 100, not 105"),
    "no weight": ({"versions": [{"version": "1"}, {"version": "2"}]}, 400, '"weight": 95'),
    "zero": ({"versions": [{"version": "1", "weight": 100}, {"version": "2", "weight": 0}]}, 400, "JSON must be"),
    "two models": (
        {"versions": [{"model": "demo", "version": "1", "weight": 50}, {"model": "x", "version": "1", "weight": 50}]},
        400,
        "Versions of a model share callers",
    ),
    "one unknown": ({"versions": [{"version": "1", "weight": 95}, {"version": "9", "weight": 5}]}, 404, "no version 9"),
    "an unknown shadow": ({"version": "1", "shadow": "9"}, 404, "no version 9"),
    "its own shadow": ({"version": "1", "shadow": "1"}, 400, "cannot be the shadow of itself"),
}


@pytest.mark.parametrize(("target", "status", "why"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_cannot_be_is_refused_and_changes_nothing(
    target: dict[str, Any], status: int, why: str, server: Running
) -> None:
    assert (await point(server.rest.http, "stable", version="2")).status_code == 200
    answer = await point(server.rest.http, "stable", **target)
    assert (answer.status_code, why in answer.json()["detail"]) == (status, True), answer.text
    assert (await server.rest.http.get("/models")).json()["aliases"] == {"stable": {"model": "demo", "version": "2"}}


async def test_both_faces_show_the_versions_of_an_alias(server: Running) -> None:
    told = (await point(server.rest.http, "stable", versions=shares(95), shadow="2")).json()
    assert "shadow of itself" in told["detail"]
    told = (await point(server.rest.http, "stable", versions=shares(95))).json()
    assert told["aliases"]["stable"] == {"model": "demo", "version": "", "versions": shares(95)}
    (alias,) = (await server.rpc.stub.ListModels(pb.ListModelsRequest())).aliases
    assert [(share.version, share.weight) for share in alias.versions] == [("1", 95), ("2", 5)]


async def test_equal_versions_show_no_difference_and_the_counts_of_their_callers(server: Running) -> None:
    await point(server.rest.http, "stable", versions=shares(50))
    (before,) = (await compared(server.rest.http))["canaries"]
    assert "Nothing can be concluded: version 1 has answered no photo yet" in before["conclusion"]
    counts = Counter([await version(server, "rest", caller) for caller in CALLERS])
    found = await compared(server.rest.http)
    assert {each["version"]: each["images"] for each in found["versions"]} == counts
    assert all(each["p50_ms"]["low"] <= each["p50_ms"]["value"] <= each["p50_ms"]["high"] for each in found["versions"])
    (canary,) = found["canaries"]
    assert "no difference in failures is seen" in canary["conclusion"]
    assert "no difference in the classes that they name is seen" in canary["conclusion"]
    await totals_add_up(server)


async def test_a_wrong_order_of_classes_is_found_among_the_answers(demo: Path, tmp_path: Path) -> None:
    publish_two(demo, tmp_path)
    rotate_labels(tmp_path / "demo" / "2")
    async with running(tmp_path, choose, admin_token=TOKEN) as server:
        await point(server.rest.http, "stable", versions=shares(50))
        for caller in CALLERS:
            await version(server, "rest", caller)
        (canary,) = (await compared(server.rest.http))["canaries"]
        assert "it names '" in canary["conclusion"]
        assert [shift["clear"] for shift in canary["shifts"]] == [True, True]


async def test_what_was_counted_is_forgotten_with_the_versions_and_not_with_the_weights(server: Running) -> None:
    async def images() -> float:
        return float(sum(each["images"] for each in (await compared(server.rest.http))["versions"]))

    await point(server.rest.http, "stable", versions=shares(50))
    for caller in CALLERS[:10]:
        await version(server, "rest", caller)
    await point(server.rest.http, "stable", versions=shares(60))
    assert await images() == 10
    await point(server.rest.http, "stable", version="1")
    await server.rest.http.get("/metrics")
    await point(server.rest.http, "stable", versions=shares(50))
    assert await images() == 0
