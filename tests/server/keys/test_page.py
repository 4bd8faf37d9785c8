"""The page of a server with keys asks for one."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support import browser, keys
from tests.support.faces import running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
REFUSED = "Failed to load resource"
"""What the console says of an answer that is an error."""


async def test_the_page_asks_for_a_key_and_then_answers(demo: Path, tmp_path: Path) -> None:
    path = keys.write(tmp_path / "keys.toml", keys.table("a"))
    async with AsyncExitStack() as stack:
        chromium = await stack.enter_async_context(browser.started())
        server = await stack.enter_async_context(running(demo.parents[1], keys=path))
        url = f"http://127.0.0.1:{server.http_port}/"
        page = await stack.enter_async_context(browser.opened(chromium, url, [REFUSED]))
        field = page.get_by_label("API key")
        await field.wait_for()
        await page.get_by_text("401 Unauthorized").wait_for()
        await browser.give(page, "drop", ("one.jpg", jpeg()))
        await page.locator("#cards .problem").wait_for()
        await field.fill(keys.secret("a"))
        await field.press("Enter")
        await page.locator("#cards > li[data-state=explained]").wait_for()
        assert not await field.is_visible()
        assert not await page.locator(".problem").count()
        assert await browser.faults(page) == []
