"""A server without ports, and a client of its REST face as Ray's proxy would be one."""

import dataclasses
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bundle.files import Bundle
from deploy.ray_rest import Provide, RayRest
from server.engines.choice import Choice
from server.settings import Settings
from server.startup.compose import compose
from server.startup.embedded import Embedded
from tests.support.faces import PATIENT, choose


@asynccontextmanager
async def embedded(
    root: Path, choose: Callable[[Bundle], Choice] = choose, load: bool = True, **settings: Any
) -> AsyncIterator[Embedded]:
    """Started, and stopped at the end where the block has not stopped it."""
    with tempfile.TemporaryDirectory() as cache:
        defaults = Settings(model_repository=root, cache_dir=Path(cache))
        server = Embedded(compose(dataclasses.replace(defaults, **(PATIENT | settings)), choose))
        await server.start(load)
        try:
            yield server
        finally:
            if server.parts.lifecycle.accepting or server.parts.lifecycle.broken:
                await server.stop()


def client(server: Embedded, provide: Provide | None = None, prefix: str = "") -> httpx.AsyncClient:
    """`prefix`: Ray's route_prefix."""
    transport = httpx.ASGITransport(RayRest(server.parts.rest.app, provide), root_path=prefix)
    return httpx.AsyncClient(transport=transport, base_url="http://sesame", timeout=60)
