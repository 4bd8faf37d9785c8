"""Screenshots: the pictures of docs/page.md, taken again: `python -m tests.server.page.screenshots`."""

import asyncio
import io
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.conftest import REPOSITORY
from tests.support.browser import give, opened, started
from tests.support.drawn import goldfish, lemon
from tests.support.faces import running
from tests.support.pictures import encoded

if TYPE_CHECKING:
    from playwright.async_api import Browser

_FOLDER = REPOSITORY / "docs" / "images"
_DESK = {"width": 1180, "height": 800}
_PHONE = {"width": 390, "height": 800}
_SHOTS: dict[str, dict[str, Any]] = {
    "page-light": {"viewport": _DESK, "color_scheme": "light"},
    "page-dark": {"viewport": _DESK, "color_scheme": "dark"},
    "page-phone": {"viewport": _PHONE, "color_scheme": "light", "device_scale_factor": 2},
}


async def _take() -> None:
    _FOLDER.mkdir(exist_ok=True)
    async with running(REPOSITORY / "model_repository") as server, started() as browser:
        for name, options in _SHOTS.items():
            picture = Image.open(io.BytesIO(await _shot(browser, f"http://127.0.0.1:{server.http_port}/", options)))
            path = _FOLDER / f"{name}.webp"
            picture.save(path, quality=80, method=6)
            print(f"{path.relative_to(REPOSITORY)}: {picture.size}, {path.stat().st_size / 1e3:.0f} kB")


async def _shot(browser: "Browser", url: str, options: dict[str, Any]) -> bytes:
    async with opened(browser, url, **options) as page:
        photos = [(f"{draw.__name__}.jpg", encoded(draw(), quality=92)) for draw in (goldfish, lemon)]
        await give(page, "drop", *photos)
        await page.locator("#cards > li[data-state=explained]").nth(1).wait_for()
        if options["viewport"] is _DESK:
            return await page.screenshot(full_page=True)
        await page.locator("#cards").evaluate("cards => cards.scrollIntoView()")
        return await page.screenshot()


if __name__ == "__main__":
    asyncio.run(_take())
