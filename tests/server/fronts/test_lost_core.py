"""Who asks again at once after the core has gone does not keep the front from noticing that it has."""

import asyncio
import contextlib
import time

import pytest

from server.processes.front.remote_queue import RemoteQueue
from server.processes.front.session import Session
from server.processes.wire import control_socket, handshake
from server.scheduling.fair_queue import Caller
from server.scheduling.forecast import NOW
from server.scheduling.permit import Retired

pytestmark = pytest.mark.anyio


async def test_a_retired_queue_lets_the_loop_turn_before_it_is_asked_again() -> None:
    listener, name = control_socket.listen()
    with listener:
        beginning = asyncio.create_task(Session.begin(name, lambda session, news: None, lambda: None))
        control, _ = await asyncio.get_running_loop().sock_accept(listener)
        region = await handshake.welcome(control)
        session = await beginning
        control.close()
        region.close()
    await session.ended.wait()
    noticed = asyncio.Event()
    asyncio.get_running_loop().call_soon(noticed.set)
    queue = RemoteQueue(session, load=1, classes=10)
    for _ in range(100):
        if not noticed.is_set():
            with contextlib.suppress(Retired):
                await queue.admit(1, Caller(), time.monotonic() + 1, NOW, patient=False)
    assert noticed.is_set()
