"""The REST face behind Ray's HTTP proxy: paths, models, and clients who leave."""

import asyncio
from pathlib import Path

import pytest

from bundle.files import Bundle
from server.engines.choice import Choice
from tests.support.embedded import client, embedded
from tests.support.faces import Held
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio


async def test_a_cancelled_request_counts_as_a_client_who_left_and_its_image_is_withdrawn(demo: Path) -> None:
    engines: list[Held] = []

    def choose(bundle: Bundle) -> Choice:
        engines.append(Held(bundle))
        return Choice(engines[-1], "a test's")

    async with embedded(demo.parents[1], choose) as server, client(server) as http:
        engines[0].closed = True
        answering = asyncio.create_task(http.post("/classify", content=jpeg()))
        await asyncio.to_thread(engines[0].entered.wait, 20)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        engines[0].gate.release(9)
        await server.parts.backend.idle()
        text = (await http.get("/metrics")).text
        assert 'sesame_requests_total{face="rest",outcome="gone"} 1.0' in text
        assert 'sesame_images_total{model="demo",outcome="gone",version="1"} 1.0' in text


async def test_a_route_prefix_is_no_part_of_the_path(demo: Path) -> None:
    async with embedded(demo.parents[1]) as server, client(server, prefix="/photos") as http:
        assert (await http.post("/photos/classify", content=jpeg())).status_code == 200
        assert (await http.get("/photos/models")).status_code == 200


async def test_the_request_id_is_left_to_rays_proxy(demo: Path) -> None:
    async with embedded(demo.parents[1]) as server, client(server) as http:
        answer = await http.get("/livez", headers={"X-Request-Id": "mine"})
        assert "x-request-id" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("query", "header", "provided", "code"),
    [
        ("", "demo", ["demo"], ""),
        ("?model=demo", "", ["demo"], ""),
        ("?model=demo", "other", ["demo"], ""),
        ("", "other&top_k=7", ["other&top_k=7"], "unknown_model"),
        ("", "", [], ""),
    ],
)
@pytest.mark.parametrize("name", ["serve_multiplexed_model_id", "Serve-Multiplexed-Model-Id"])
async def test_the_model_that_a_request_names_is_provided_and_asked(
    query: str, header: str, provided: list[str], code: str, name: str, demo: Path
) -> None:
    asked: list[str] = []

    async def provide(model: str) -> None:
        asked.append(model)

    async with embedded(demo.parents[1]) as server, client(server, provide) as http:
        answer = await http.post(f"/classify{query}", content=jpeg(), headers={name: header} if header else {})
        assert (asked, answer.json().get("code", "")) == (provided, code)
