"""Browser: Debian's Chromium without a window, for tests of pages."""

import base64
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import fast

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page

PATIENT_MS = 60_000
"""How long a page may take: no test is about speed."""

_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
_AXE_LEVELS = ("serious", "critical")


@asynccontextmanager
async def started() -> AsyncIterator["Browser"]:
    """A running browser. Skips the test where there is none."""
    fast.leave("starts a browser")
    pytest.importorskip("playwright", reason="needs Playwright: make setup")
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium-headless-shell")
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=PATIENT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(browser: "Browser", url: str, errors: Sequence[str] = (), **options: Any) -> AsyncIterator["Page"]:
    """The page at `url`, in a profile of its own. At its end its console has no error that does not contain one of
    `errors`. `options` are those of a context of Playwright, such as `color_scheme`.
    """
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENT_MS)
    page = await context.new_page()
    told: list[str] = []

    def hear(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            told.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: told.append(str(error)))
    try:
        await page.goto(url)
        yield page
    finally:
        await context.close()
    assert [text for text in told if not any(error in text for error in errors)] == []


async def give(page: "Page", event: str, *files: tuple[str, bytes]) -> None:
    """Drop or paste files, given as name and content: the event that the browser would send."""
    encoded = [[name, base64.b64encode(content).decode()] for name, content in files]
    await page.evaluate(_GIVE, [event, encoded])


_GIVE = """([event, files]) => {
  const data = new DataTransfer();
  for (const [name, content] of files)
    data.items.add(new File([Uint8Array.from(atob(content), (each) => each.charCodeAt(0))], name));
  const how = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(
    event === "paste"
      ? new ClipboardEvent("paste", { ...how, clipboardData: data })
      : new DragEvent(event, { ...how, dataTransfer: data }),
  );
}"""


async def faults(page: "Page") -> list[str]:
    """What axe calls serious or critical on the page, as rule and elements."""
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="needs axe: make setup")
    results = await axe.Axe().run(page)
    return [
        f"{fault['id']}: {[node['target'] for node in fault['nodes']]}"
        for fault in results.response["violations"]
        if fault["impact"] in _AXE_LEVELS
    ]
