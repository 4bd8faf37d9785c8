"""Limits among the metrics: what loads are to be compared with."""

from pathlib import Path

import pytest

from tests.support.faces import running

pytestmark = pytest.mark.anyio


async def test_limits_are_those_of_the_settings(demo: Path) -> None:
    async with running(demo.parents[1], max_wait_ms=1500, queue_images=100) as server:
        assert await server.metric("sesame_max_wait_seconds") == 1.5
        assert await server.metric("sesame_permits_limit") == 100


async def test_open_connections_of_http_are_counted(demo: Path) -> None:
    async with running(demo.parents[1]) as server:
        assert await server.metric("sesame_http_connections") == 1
