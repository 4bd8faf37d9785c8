"""Versions share callers and have shadows whichever front is asked, and what all fronts counted is summed."""

from typing import Any

import httpx
import pytest

from server.registry.target import Share, Target
from tests.support.pictures import jpeg
from tests.support.published import publish
from tests.support.served_tree import FRONTS, ServedTree
from tests.support.versions import shares

pytestmark = pytest.mark.anyio

CALLERS = [f"caller-{number}" for number in range(30)]


async def point(http: httpx.AsyncClient, **target: Any) -> None:
    answer = await http.put("/admin/aliases/shared", json={"model": "twice", **target})
    assert answer.status_code == 200, answer.text


async def compared(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/models/shared/compare")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_known(http: httpx.AsyncClient, **target: Any) -> None:
    """The other front hears of an alias a moment later."""
    while (await http.get("/models")).json()["aliases"].get("shared") != {"model": "twice", **target}:
        pass


async def test_callers_keep_their_version_at_every_front_and_all_are_counted(shared_tree: ServedTree) -> None:
    demo = shared_tree.repository / "demo" / "1"
    for version in (1, 2):
        publish(demo, shared_tree.repository, version, name="twice")
    both = Target("twice", "", (Share("1", 50), Share("2", 50)))
    expected = [both.preferred("shared", caller)[0] for caller in CALLERS]
    async with shared_tree.client_of(FRONTS[0]) as one, shared_tree.client_of(FRONTS[1]) as other:
        for version in (1, 2):
            assert (await one.post(f"/admin/models/twice/load?version={version}")).status_code == 200
        await point(one, versions=shares(50))
        await until_known(other, version="", versions=shares(50))
        for http in (one, other):
            answers = [
                await http.post("/classify?model=shared", content=jpeg(), headers={"X-Caller-Id": caller})
                for caller in CALLERS
            ]
            assert [answer.json()["version"] for answer in answers] == expected
        for http in (one, other):
            found = {each["version"]: each["images"] for each in (await compared(http))["versions"]}
            assert found == {version: 2 * expected.count(version) for version in ("1", "2")}
        await shadows_compute(one, other)
        assert (await one.delete("/admin/aliases/shared")).status_code == 200


async def shadows_compute(one: httpx.AsyncClient, other: httpx.AsyncClient) -> None:
    """Each front has a shadow's process of its own."""
    await point(other, version="1", shadow="2")
    await until_known(one, version="1", shadow="2")
    for http in (one, other):
        before = await compared_photos(http)
        while await compared_photos(http) == before:
            assert (await http.post("/classify?model=shared", content=jpeg())).json()["version"] == "1"
    (report,) = (await compared(one))["shadows"]
    assert report["photos"] >= 2 and report["top1_agreement"]["value"] == 1, report


async def compared_photos(http: httpx.AsyncClient) -> int:
    shadows = (await compared(http))["shadows"]
    return sum(int(each["photos"]) for each in shadows)
