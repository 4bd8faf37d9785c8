"""The page at `/` in a real browser, over a real server."""

import asyncio
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bundle.manifest import Manifest
from tests.conftest import REPOSITORY
from tests.support import drawn
from tests.support.browser import PATIENT_MS, faults, give, opened
from tests.support.faces import Running, held, running
from tests.support.pictures import encoded, jpeg
from tests.support.published import publish

if TYPE_CHECKING:
    from playwright.async_api import Browser, FileChooser, Locator, Page

pytestmark = pytest.mark.anyio

BLOCKS = 8
"""SE blocks of the demo, an SE-ResNet-18."""

REFUSED = "Failed to load resource"
"""What the console says of an answer that is an error, or of none."""


@asynccontextmanager
async def visited(browser: "Browser", server: Running, *errors: str, **options: Any) -> AsyncIterator["Page"]:
    async with opened(browser, f"http://127.0.0.1:{server.http_port}/", errors, **options) as page:
        yield page


def card(page: "Page", number: int) -> "Locator":
    """The card of the photo that came as the `number`-th, from 1."""
    return page.locator("#cards > li").nth(number - 1)


async def until(page: "Page", number: int, state: str = "explained") -> "Locator":
    """The card, once it is in the state."""
    await page.locator(f"#cards > li:nth-child({number})[data-state={state}]").wait_for()
    return card(page, number)


async def shown(of: "Locator") -> list[tuple[str, str]]:
    """The classes of a card with their probabilities, as they are written."""
    names, shares = of.locator(".bars .name"), of.locator(".bars .share")
    return list(zip(await names.all_inner_texts(), await shares.all_inner_texts(), strict=True))


async def answered(server: Running, photo: bytes) -> list[tuple[str, str]]:
    outcome = await server.rest.classify(photo)
    return [(label, f"{100 * probability:.1f} %") for _, _, label, probability in outcome.predictions]


async def test_two_dropped_photos_show_their_top_five_their_maps_and_excitations_side_by_side(
    browser: "Browser", server: Running
) -> None:
    photos = [encoded(drawn.goldfish()), encoded(drawn.lemon(), "PNG")]
    async with visited(browser, server) as page:
        await give(page, "drop", ("one.jpg", photos[0]), ("two.png", photos[1]))
        for number, photo, best in zip((1, 2), photos, ("goldfish", "lemon"), strict=True):
            seen = await until(page, number)
            assert await shown(seen) == await answered(server, photo)
            assert (await shown(seen))[0][0] == best
            assert await seen.locator("canvas").is_visible()
            stages = await seen.locator(".stages th").all_inner_texts()
            assert stages == ["decode", "queue", "infer", "total", "round trip", "explain"]
        for series in (0, 1):
            assert await page.locator(f".chart .box.series-{series}").count() == BLOCKS
        assert "demo 1: seresnet18" in await page.locator("#facts").inner_text()


async def test_the_map_follows_the_slider_and_the_chosen_class(browser: "Browser", server: Running) -> None:
    from playwright.async_api import expect

    async with visited(browser, server) as page:
        await give(page, "drop", ("one.jpg", jpeg(1)))
        seen = await until(page, 1)
        await seen.get_by_label("Opacity of the map").fill("20")
        await expect(seen.locator("canvas")).to_have_css("opacity", "0.2")
        first = await seen.locator("canvas").evaluate("canvas => canvas.toDataURL()")
        names = [name for name, _ in await shown(seen)]
        async with page.expect_request(re.compile("/explain")) as asked:
            await seen.get_by_text(names[2], exact=True).click()
        index = await seen.locator("input:checked").get_attribute("value")
        assert f"class={index}" in (await asked.value).url
        await expect(seen.locator(".caption")).to_contain_text(f"{names[2]}: ")
        await until(page, 1)
        assert await seen.locator("canvas").evaluate("canvas => canvas.toDataURL()") != first
        await seen.get_by_text(names[0], exact=True).click()  # known by now
        await expect(seen.locator(".caption")).to_contain_text(f"{names[0]}: ")
        assert await seen.locator("canvas").evaluate("canvas => canvas.toDataURL()") == first


async def test_the_map_lies_where_the_network_looked(browser: "Browser", server: Running) -> None:
    """Of a wide photo the network sees the square in the middle, and its strongest place is the map's orange one."""
    async with visited(browser, server) as page:
        async with page.expect_response(re.compile("/explain")) as answer:
            await give(page, "drop", ("wide.jpg", jpeg(3, width=320, height=160)))
        region = (await (await answer.value).json())["map"]["region"]
        seen = await until(page, 1)
        photo, map = [await seen.locator(each).bounding_box() for each in (".photo img", ".photo canvas")]
        assert photo is not None
        assert map is not None
        assert (map["x"] - photo["x"]) / photo["width"] == pytest.approx(region["left"], abs=0.01)
        assert map["width"] / photo["width"] == pytest.approx(region["width"], abs=0.01)
        assert map["height"] / photo["height"] == pytest.approx(region["height"], abs=0.01)


async def test_the_page_can_be_used_with_the_keyboard_alone(
    browser: "Browser", server: Running, tmp_path: Path
) -> None:
    from playwright.async_api import expect

    (tmp_path / "photo.jpg").write_bytes(jpeg(1))
    async with visited(browser, server) as page:
        chosen: asyncio.Future[FileChooser] = asyncio.get_running_loop().create_future()
        # Long before the key: until the browser knows of it, it opens a real one
        page.on("filechooser", lambda chooser: chosen.set_result(chooser))
        await tab_to(page, "files")
        await page.keyboard.press("Enter")
        await (await asyncio.wait_for(chosen, PATIENT_MS / 1e3)).set_files(tmp_path / "photo.jpg")
        seen = await until(page, 1)
        await tab_to(page, "range")
        before = await seen.locator("input[type=range]").input_value()
        await page.keyboard.press("ArrowLeft")
        assert await seen.locator("input[type=range]").input_value() == str(int(before) - 1)
        await tab_to(page, "radio")
        await page.keyboard.press("ArrowDown")
        second = (await shown(seen))[1][0]
        await expect(seen.locator(".caption")).to_contain_text(f"{second}: ")
        await tab_to(page, "SUMMARY")
        await page.keyboard.press("Enter")
        await expect(seen.locator("pre").first).to_contain_text("curl --data-binary @photo.jpg 'http")
        await tab_to(page, "Block")
        await page.keyboard.press("ArrowUp")
        await expect(page.locator("#excitations figcaption").last).to_contain_text("layer4.0: its ")


async def tab_to(page: "Page", goal: str) -> None:
    """Press the tabulator until the goal has the focus: an id, a type of input, a tag or a label."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(_FOCUSED)
        if goal in focused:
            return
    pytest.fail(f"the tabulator never comes to {goal}")


_FOCUSED = """() => {
  const { id, type, tagName, labels } = document.activeElement;
  return [id, type, tagName, ...[...(labels || [])].map((label) => label.firstChild.textContent.trim())];
}"""


async def test_what_is_no_photo_gets_its_cure_and_its_name_is_never_html(browser: "Browser", server: Running) -> None:
    name = "<img src=x onerror=alert(1)>.txt"
    async with visited(browser, server, REFUSED) as page:
        await give(page, "paste", (name, b"no photo"), ("photo.jpg", jpeg(1)))
        refused = await until(page, 1, "failed")
        assert await refused.locator("h3").inner_text() == f"1. {name}"
        problem = refused.get_by_role("alert")
        assert "415" in await problem.inner_text()
        assert "JPEG, PNG" in await problem.inner_text()
        assert await until(page, 2)
        await refused.get_by_role("button", name="Remove").click()
        assert await page.locator("#cards > li").count() == 1


async def test_a_full_server_says_when_to_try_again(browser: "Browser", demo: Path) -> None:
    async with (
        held(demo, queue_images=1, max_images=1) as (server, engine),
        visited(browser, server, REFUSED) as page,
    ):
        await give(page, "drop", ("first.jpg", jpeg(1)))
        await server.until("sesame_permits_taken", 1)
        await give(page, "drop", ("second.jpg", jpeg(2)))
        refused = await until(page, 2, "failed")
        problem = await refused.get_by_role("alert").inner_text()
        assert "429 Too Many Requests" in problem
        assert re.search(r"The server asks to wait \d+ s\.", problem)
        engine.gate.release(1000)
        await until(page, 1)
        await refused.get_by_role("button", name="Try again").click()
        await until(page, 2)


async def test_a_server_that_is_gone_is_told_and_may_come_back(browser: "Browser", demo: Path) -> None:
    async with AsyncExitStack() as until_gone:
        server = await until_gone.enter_async_context(running(demo.parents[1]))
        async with visited(browser, server, REFUSED) as page:
            await until_gone.aclose()
            await give(page, "drop", ("photo.jpg", jpeg(1)))
            left = await until(page, 1, "failed")
            assert "The server cannot be reached" in await left.get_by_role("alert").inner_text()
            async with running(demo.parents[1], http_port=server.http_port):
                await left.get_by_role("button", name="Try again").click()
                await until(page, 1)


async def only_predictions(browser: "Browser", server: Running) -> str:
    """Why there is no map, where a photo got its predictions and nothing else."""
    async with visited(browser, server, REFUSED) as page:
        await give(page, "drop", ("photo.jpg", jpeg(1)))
        seen = await until(page, 1, "classified")
        assert await shown(seen) == await answered(server, jpeg(1))
        assert await seen.get_by_role("radio").count() == 0
        assert not await seen.locator("canvas").is_visible()
        assert not await page.locator("#excitations").is_visible()
        return await seen.locator(".note").inner_text()


async def test_a_server_that_does_not_explain_shows_predictions_and_says_why(browser: "Browser", demo: Path) -> None:
    async with running(demo.parents[1], explain=False) as server:
        assert "--no-explain" in await only_predictions(browser, server)


async def test_an_older_bundle_shows_predictions_and_says_what_to_do(
    browser: "Browser", demo: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(demo, tmp_path / "demo" / "1")
    manifest = Manifest.from_json((folder / "manifest.json").read_text())
    blocks = tuple(dataclasses.replace(block, gate=None) for block in manifest.architecture.se_blocks)
    architecture = dataclasses.replace(manifest.architecture, se_blocks=blocks)
    old = dataclasses.replace(manifest, architecture=architecture, head=None)
    (folder / "manifest.json").write_text(old.to_json())
    async with running(tmp_path) as server:
        assert "export it again" in await only_predictions(browser, server)


async def test_another_model_answers_all_photos_again(browser: "Browser", demo: Path, tmp_path: Path) -> None:
    from playwright.async_api import expect

    for version in (1, 2):
        publish(demo, tmp_path, version)
    async with running(tmp_path, keep_versions=2) as server, visited(browser, server) as page:
        await give(page, "drop", ("one.jpg", jpeg(1)), ("two.jpg", jpeg(2)))
        for number in (1, 2):
            await until(page, number)
        await expect(page.locator("#facts")).to_contain_text("demo 2: ")
        await page.get_by_label("Model").select_option("demo")
        async with page.expect_request(re.compile("/explain.*version=1")):
            await page.get_by_label("Version").select_option("1")
        for number in (1, 2):
            await until(page, number)
        await expect(page.locator("#facts")).to_contain_text("demo 1: ")


FAINT = {"light": "#999", "dark": "#555"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_axe_finds_nothing_serious(scheme: str, width: int, browser: "Browser", server: Running) -> None:
    size = {"width": width, "height": 900}
    async with visited(browser, server, REFUSED, color_scheme=scheme, viewport=size) as page:
        assert await faults(page) == []
        await give(page, "drop", ("one.jpg", jpeg(1)), ("two.jpg", jpeg(2)), ("three.txt", b"no photo"))
        await until(page, 1)
        await until(page, 2)
        await until(page, 3, "failed")
        for summary in await page.locator("summary").all():
            if await summary.is_visible():
                await summary.click()
        for number in (1, 2):
            await card(page, number).locator("pre").last.wait_for()
        assert await faults(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await page.locator("header p").evaluate(f"text => (text.style.color = '{FAINT[scheme]}')")
        await page.locator("#files").evaluate("files => files.labels[0].remove()")
        assert {fault.split(":")[0] for fault in await faults(page)} == {"color-contrast", "label"}


async def test_the_requests_that_it_shows_give_what_it_shows(
    browser: "Browser", server: Running, tmp_path: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    name = "it's a photo.jpg"
    (tmp_path / name).write_bytes(jpeg(1))
    shutil.copytree(REPOSITORY / "proto", tmp_path / "proto")
    async with visited(browser, server) as page:
        await give(page, "drop", (name, jpeg(1)))
        seen = await until(page, 1)
        await seen.locator("summary").click()
        await seen.locator("pre").last.wait_for()
        curl, python, grpc = [await each.inner_text() for each in await seen.locator("pre").all()]
        best = (await shown(seen))[0][0]
    for command in (["bash", "-ec", curl.replace("curl ", "curl -sf ")], [sys.executable, "-c", python]):
        classified, explained = json_values(await printed(command, tmp_path))
        assert classified["predictions"][0]["label"] == explained["class"]["label"] == best
        assert explained["excitations"][0]["gates"]
    told = await printed([sys.executable, "-c", grpc.replace(":8001", f":{server.grpc_port}")], tmp_path)
    assert told.count(f'label: "{best}"') >= 2  # by Classify, and by Explain


def json_values(text: str) -> Iterator[dict[str, Any]]:
    """The objects that stand one after the other in a text."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:].strip()


async def printed(command: list[str], folder: Path) -> str:
    import anyio

    done = await anyio.run_process(command, cwd=folder, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()
