"""Links over real sockets, on both event loops: what they gather, and what ends them."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from server.processes.wire.errors import LinkError
from server.processes.wire.frames import frames_to_core, frames_to_front
from server.processes.wire.link import WAITING_BYTES, Link
from server.processes.wire.messages import (
    FRAME_BYTES,
    Answer,
    Cancel,
    Granted,
    Submit,
    ToCore,
    ToFront,
    Withdraw,
    encode,
)
from tests.support.descriptors import is_open, open_files, opened_since
from tests.support.loops import BOTH_LOOPS

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]
LIMIT_S = 30


class End:
    """The core's end of a link, which keeps what it was told."""

    def __init__(self, check: Callable[[ToCore], None] = lambda message: None) -> None:
        self.got: list[ToCore] = []
        self.lost: list[str] = []
        self._check = check
        self._news = asyncio.Event()
        self.link: Link[ToFront, ToCore] = Link(frames_to_core(), self._take, self._lose)

    def _take(self, message: ToCore) -> None:
        self.got.append(message)
        self._news.set()
        self._check(message)

    def _lose(self, reason: str) -> None:
        self.lost.append(reason)
        self._news.set()

    async def until(self, count: int) -> list[ToCore]:
        """The messages, when there are so many."""
        await self._until(lambda: len(self.got) >= count)
        return self.got

    async def until_lost(self) -> str:
        await self._until(lambda: bool(self.lost))
        return self.lost[0]

    async def _until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not enough():
                self._news.clear()
                await self._news.wait()


async def started(
    check: Callable[[ToCore], None] = lambda message: None,
) -> tuple[End, socket.socket]:
    """A core's end, and the bare socket of its front."""
    control, peer = socket.socketpair()
    control.setblocking(False)
    end = End(check)
    await end.link.start(control)
    peer.setblocking(False)
    return end, peer


async def test_messages_arrive_in_order_at_both_ends() -> None:
    control, peer = socket.socketpair()
    got: list[ToFront] = []
    arrived = asyncio.Event()

    def take(message: ToFront) -> None:
        got.append(message)
        if len(got) == 1000:
            arrived.set()

    core = End(lambda message: core.link.send(Granted(len(core.got))))
    front: Link[ToCore, ToFront] = Link(frames_to_front(), take, lambda reason: None)
    await core.link.start(control)
    await front.start(peer)
    for number in range(1000):
        front.send(Cancel(number))
    async with asyncio.timeout(LIMIT_S):
        await arrived.wait()
    assert core.got == [Cancel(number) for number in range(1000)]
    assert got == [Granted(number) for number in range(1, 1001)]
    front.close()
    assert await core.until_lost() == "The other side closed the connection."


class Recorded(asyncio.Transport):
    """A transport that keeps what is written, one entry for each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0


async def test_what_is_sent_in_one_turn_is_written_at_once() -> None:
    transport = Recorded()
    link = End().link
    link.connection_made(transport)
    for turn in range(2):
        for number in range(3):
            link.send(Granted(number))
        assert len(transport.writes) == turn
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.writes == [b"".join(encode(Granted(number)) for number in range(3))] * 2


async def test_what_is_sent_before_the_start_is_not_lost() -> None:
    control, peer = socket.socketpair()
    end = End()
    end.link.send(Granted(1))
    await asyncio.sleep(0)
    await end.link.start(control)
    end.link.send(Granted(2))
    peer.setblocking(False)
    wanted = encode(Granted(1)) + encode(Granted(2))
    found = b""
    async with asyncio.timeout(LIMIT_S):
        while len(found) < len(wanted):
            found += await asyncio.get_running_loop().sock_recv(peer, 100)
    assert found == wanted
    end.link.close()
    peer.close()


async def test_a_peer_that_closes_is_a_loss_that_is_told_once() -> None:
    end, peer = await started()
    peer.sendall(encode(Cancel(1)))
    peer.close()
    assert await end.until_lost() == "The other side closed the connection."
    assert end.got == [Cancel(1)]
    end.link.send(Granted(1))
    end.link.close()
    await asyncio.sleep(0)
    assert len(end.lost) == 1


async def test_a_peer_that_dies_amid_a_message_is_told_as_such() -> None:
    end, peer = await started()
    peer.sendall(encode(Cancel(1)) + encode(Cancel(2))[:-1])
    peer.close()
    assert await end.until_lost() == "The other side ended amid a message."
    assert end.got == [Cancel(1)]


async def test_what_cannot_be_read_ends_the_link_and_its_socket() -> None:
    before = open_files()
    end, peer = await started()
    peer.sendall(b"\xff" * 100)
    assert "longer" in await end.until_lost()
    await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        while True:
            await asyncio.sleep(0)
            peer.send(b"x")
    peer.close()
    assert not opened_since(before)


async def test_a_message_out_of_order_ends_the_link_and_the_next_is_not_handed_on() -> None:
    def refuse(message: ToCore) -> None:
        if isinstance(message, Submit):
            raise LinkError("Slot 3 has no permit.")

    end, peer = await started(refuse)
    peer.sendall(encode(Cancel(1)) + encode(Submit(3, 1, 1)) + encode(Cancel(2)))
    assert await end.until_lost() == "Slot 3 has no permit."
    assert end.got == [Cancel(1), Submit(3, 1, 1)]
    peer.close()


async def test_a_bug_in_the_receiver_is_logged_and_ends_the_link(caplog: pytest.LogCaptureFixture) -> None:
    def fail(message: ToCore) -> None:
        raise KeyError("mistake")

    end, peer = await started(fail)
    with caplog.at_level(logging.ERROR):
        peer.sendall(encode(Cancel(1)) + encode(Cancel(2)))
        assert "the log" in await end.until_lost()
    assert end.got == [Cancel(1)]
    assert "mistake" in caplog.text
    peer.close()


async def test_a_peer_that_does_not_read_ends_the_link() -> None:
    end, peer = await started()
    sent_bytes = 0
    async with asyncio.timeout(LIMIT_S):
        while not end.lost:
            end.link.send(Answer(1, text=bytes(FRAME_BYTES // 2)))
            sent_bytes += FRAME_BYTES // 2
            await asyncio.sleep(0)
    assert "does not read" in end.lost[0]
    assert WAITING_BYTES < sent_bytes < 3 * WAITING_BYTES
    peer.close()


async def test_a_peer_that_reads_may_be_sent_any_amount() -> None:
    end, peer = await started()
    loop = asyncio.get_running_loop()
    wanted = len(encode(Answer(1, text=bytes(FRAME_BYTES // 2))))
    for _ in range(3 * WAITING_BYTES // wanted):
        end.link.send(Answer(1, text=bytes(FRAME_BYTES // 2)))
        found = 0
        async with asyncio.timeout(LIMIT_S):
            while found < wanted:
                found += len(await loop.sock_recv(peer, 1 << 20))
    assert not end.lost
    peer.close()
    await end.until_lost()


async def test_closing_sends_what_waits() -> None:
    end, peer = await started()
    end.link.send(Granted(1))
    end.link.close()
    end.link.close()
    end.link.send(Granted(2))
    assert await end.until_lost() == "This side closed the connection."
    peer.setblocking(True)
    peer.settimeout(LIMIT_S)
    assert peer.recv(100) + peer.recv(100) == encode(Granted(1))
    peer.close()


async def test_closing_does_not_wait_for_a_peer_that_does_not_read() -> None:
    end, peer = await started()
    for _ in range(4):
        end.link.send(Answer(1, text=bytes(FRAME_BYTES // 2)))
    end.link.close()
    assert await end.until_lost() == "This side closed the connection."
    peer.close()


async def test_a_receiver_may_close_its_link() -> None:
    end, peer = await started(lambda message: end.link.close())
    peer.sendall(encode(Cancel(1)) + encode(Withdraw(2)))
    assert await end.until_lost() == "This side closed the connection."
    assert end.got == [Cancel(1)]
    peer.close()


async def test_a_message_that_is_too_large_is_its_senders_mistake_and_nothing_of_it_is_sent() -> None:
    end, peer = await started()
    end.link.send(Granted(1))
    with pytest.raises(ValueError, match="too large"):
        end.link.send(Answer(1, text=bytes(FRAME_BYTES)))
    end.link.close()
    await end.until_lost()
    assert peer.recv(100) == encode(Granted(1))
    fd = peer.fileno()
    peer.close()
    assert not is_open(fd)
