"""A shadow gets copies of answered photos, answers nobody, and hurts nobody, whatever becomes of it."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bundle.files import Bundle
from server.engines.choice import Choice
from server.host.exit_codes import STOPPED
from server.shadow.shadow_process import ShadowProcess
from tests.support.faces import Client, Held, Running, choose, running
from tests.support.pictures import jpeg
from tests.support.published import publish
from tests.support.versions import TOKEN, compared, point, publish_two, resize_to, rotate_labels, shares

pytestmark = pytest.mark.anyio

DIES = "import sys; sys.stdin.buffer.read(4); sys.exit(3)"
HANGS = "import sys; sys.stdin.buffer.read()"
NONSENSE = "import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\1x'); sys.stdout.flush(); sys.stdin.buffer.read()"


@pytest.fixture
def root(demo: Path, tmp_path: Path) -> Path:
    return publish_two(demo, tmp_path)


@asynccontextmanager
async def shadowed(root: Path, program: str = "", limit_s: float = 600, **settings: Any) -> AsyncIterator[Running]:
    """A server with an alias `stable` for version 1, whose shadow is version 2. `program`: instead of the shadow's."""
    settings = {"admin_token": TOKEN, "shadow_percent": 100, "keep_versions": 2, **settings}
    async with running(root, **{"choose": choose, **settings}) as server:
        if program:
            process = ShadowProcess(limit_s, (sys.executable, "-c", program))
            server.app.parts.comparisons.live.shadows.process = process
        answer = await point(server.rest.http, "stable", version="1", shadow="2")
        assert answer.status_code == 200, answer.text
        yield server


async def classify_until(server: Running, client: Client, outcome: str, count: int) -> int:
    """Send photos until so many have this outcome in the shadow; returns how many were sent. All are answered."""
    for seed in range(100_000):
        answered = await client.classify(jpeg(seed), model="stable")
        assert (answered.code, answered.version) == ("", "1")
        if await server.metric("sesame_shadow_photos_total", f'outcome="{outcome}"') >= count:
            return seed + 1
    raise AssertionError("no photo was copied")


async def shadow_report(server: Running) -> dict[str, Any]:
    (report,) = (await compared(server.rest.http))["shadows"]
    found: dict[str, Any] = report
    return found


async def totals_add_up(server: Running) -> None:
    admitted, ended = await server.metric("sesame_admitted_total"), await server.metric("sesame_images_total")
    assert admitted == ended > 0


@pytest.mark.parametrize("face", ["rest", "rpc"])
async def test_an_equal_shadow_agrees_on_every_photo(face: str, root: Path) -> None:
    async with shadowed(root) as server:
        before = await shadow_report(server)
        assert before["conclusion"] == "Nothing can be concluded: no photo has been compared yet."
        sent = await classify_until(server, server.client(face), "compared", 10)
        report = await shadow_report(server)
        assert report["photos"] + report["passed_over"] + report["failed"] in (sent, sent - 1)  # one is under way
        assert (report["failed"], report["fault"]) == (0, "")
        assert report["conclusion"].startswith(f"On {report['photos']} photos versions 1 and 2 name the same class for")
        assert "100.0 % (" in report["conclusion"]
        assert report["top1_agreement"]["value"] == report["top5_agreement"]["value"] == 1
        assert report["top1_agreement"]["low"] < 1
        assert abs(report["delta_log_p"]["value"]) < 1e-4
        assert report["infer_ms"]["value"] > 0 and report["shadow_infer_ms"]["value"] > 0
        await totals_add_up(server)


async def test_a_wrong_order_of_classes_in_the_shadow_is_found_and_told(root: Path) -> None:
    rotate_labels(root / "demo" / "2")
    async with shadowed(root) as server:
        await classify_until(server, server.rest, "compared", 10)
        report = await shadow_report(server)
        assert report["top1_agreement"]["high"] < 0.5
        assert report["delta_log_p"]["high"] < 0
        assert f"name the same class for {report['top1_agreement']['value']:.1%}"[:-1] in report["conclusion"]


async def test_pixels_that_a_client_decoded_are_copied_too(root: Path) -> None:
    async with shadowed(root) as server:
        tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3], "data": [7] * (64 * 64 * 3)}
        while not await server.metric("sesame_shadow_photos_total", 'outcome="compared"'):
            answer = await server.rest.http.post("/v2/models/stable/infer", json={"inputs": [tensor]})
            assert answer.status_code == 200


async def test_only_what_the_alias_was_asked_is_copied(root: Path) -> None:
    async with shadowed(root) as server:
        await server.rest.http.post("/classify?model=demo&version=1", content=jpeg())
        assert await server.metric("sesame_shadow_photos_total") == 0


async def test_equal_photos_are_copied_once(root: Path) -> None:
    engines: list[Held] = []

    def choose_held(bundle: Bundle) -> Choice:
        engines.append(Held(bundle))
        return Choice(engines[-1], "")

    async with shadowed(root, HANGS, choose=choose_held) as server:
        for engine in engines:
            engine.closed = True
        asking = [asyncio.create_task(server.rest.classify(jpeg(), model="stable")) for _ in range(5)]
        await server.until("sesame_admitted_total", 5)
        for engine in engines:
            engine.gate.release(5)
        assert {answered.version for answered in await asyncio.gather(*asking)} == {"1"}
        assert await server.metric("sesame_shadow_photos_total", 'outcome="passed_over"') == 0
        assert server.app.parts.comparisons.live.shadows.process.running


@pytest.mark.parametrize("program", [DIES, NONSENSE], ids=["dies", "talks nonsense"])
async def test_a_shadow_that_fails_hurts_nobody_and_is_told(program: str, root: Path) -> None:
    async with shadowed(root, program) as server:
        await classify_until(server, server.rest, "failed", 1)
        report = await shadow_report(server)
        assert "its process died, and is started again" in report["fault"]
        assert report["fault"] in report["conclusion"]
        await totals_add_up(server)


async def test_a_shadow_that_hangs_is_given_up(root: Path) -> None:
    async with shadowed(root, HANGS, limit_s=0.1) as server:
        await classify_until(server, server.rest, "failed", 1)
        assert "its process took too long" in (await shadow_report(server))["fault"]


async def test_the_end_of_the_server_does_not_wait_for_a_shadow(root: Path) -> None:
    async with shadowed(root, HANGS) as server:
        await server.rest.classify(jpeg(), model="stable")
        process = server.app.parts.comparisons.live.shadows.process
        while not process.running:
            await asyncio.sleep(0)
        server.app.leave()
        assert await server.task == STOPPED
        assert not process.running


async def test_without_time_no_shadow_computes(root: Path) -> None:
    async with shadowed(root, shadow_percent=0) as server:
        await classify_until(server, server.rest, "passed_over", 3)
        assert not server.app.parts.comparisons.live.shadows.process.running


async def test_a_shadow_that_prepares_photos_otherwise_is_told(root: Path) -> None:
    resize_to(root / "demo" / "2", 80)
    async with shadowed(root) as server:
        await classify_until(server, server.rest, "failed", 1)
        fault = (await shadow_report(server))["fault"]
        assert "64x64 of short_side 80, bilinear, and not as 64x64 of short_side 64" in fault


async def test_a_shadow_whose_files_are_gone_is_told(root: Path) -> None:
    async with shadowed(root, keep_versions=1) as server:
        await server.rest.http.post("/admin/models/demo/unload?version=2", headers={"Authorization": f"Bearer {TOKEN}"})
        shutil.rmtree(root / "demo" / "2")
        await server.registry.deployer.refresh()
        await classify_until(server, server.rest, "failed", 1)
        assert "there is no version 2" in (await shadow_report(server))["fault"]


async def test_versions_that_share_callers_are_each_compared_with_the_shadow(demo: Path, root: Path) -> None:
    publish(demo, root, 3)
    async with shadowed(root, keep_versions=3) as server:
        await point(server.rest.http, "stable", versions=shares(50), shadow="3")
        caller = 0
        while len((await compared(server.rest.http))["shadows"]) < 2 or not all(
            each["photos"] for each in (await compared(server.rest.http))["shadows"]
        ):
            caller += 1
            headers = {"X-Caller-Id": str(caller)}
            await server.rest.http.post("/classify?model=stable", content=jpeg(caller), headers=headers)
        reports = (await compared(server.rest.http))["shadows"]
        assert [(each["version"], each["shadow"]) for each in reports] == [("1", "3"), ("2", "3")]


async def test_another_shadow_begins_at_nothing(demo: Path, root: Path) -> None:
    publish(demo, root, 3)
    async with shadowed(root, HANGS, keep_versions=3) as server:
        await classify_until(server, server.rest, "passed_over", 2)
        await point(server.rest.http, "stable", version="1", shadow="3")
        report = await shadow_report(server)
        assert (report["shadow"], report["passed_over"]) == ("3", 0)
