"""Loops: both event loops that processes run on, for asynchronous tests that must hold on each."""

import asyncio

import pytest
import uvloop

BOTH_LOOPS = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"loop_factory": asyncio.SelectorEventLoop}), ("asyncio", {"loop_factory": uvloop.new_event_loop})],
    ids=["asyncio", "uvloop"],
)
