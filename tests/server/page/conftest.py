"""One browser and one server for all tests of the page that leave it serving."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import started
from tests.support.faces import Running, running

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.fixture(scope="module")
async def browser(anyio_backend: object) -> AsyncIterator["Browser"]:
    async with started() as browser:
        yield browser


@pytest.fixture(scope="module")
async def server(anyio_backend: object, demo: Path) -> AsyncIterator[Running]:
    async with running(demo.parents[1]) as server:
        yield server


@pytest.fixture(scope="module")
def address(server: Running) -> str:
    return f"http://127.0.0.1:{server.http_port}/"
