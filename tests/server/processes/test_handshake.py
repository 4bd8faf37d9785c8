"""How a front and the core begin: over real sockets, on both event loops, with all that can be wrong."""

import array
import asyncio
import fcntl
import os
import socket
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from server.processes.wire import control_socket
from server.processes.wire.errors import LinkError
from server.processes.wire.handshake import greet, welcome
from server.processes.wire.messages import PROTOCOL, Cancel, Catalogue, Granted, Hello, Message, Welcome, encode
from server.processes.wire.region import ROW_BYTES, Region
from tests.support.descriptors import is_open, open_files, opened_since
from tests.support.loops import BOTH_LOOPS

pytestmark = [pytest.mark.anyio, BOTH_LOOPS]
SLOTS = 2
SLOT_BYTES = ROW_BYTES + (1 << 16)
HELLO = Hello(PROTOCOL, SLOTS, SLOT_BYTES)
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def memfd(size_bytes: int = SLOTS * SLOT_BYTES, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def send(peer: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """As a front would, and close its descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    peer.sendmsg([encode(message)], rights)
    for fd in fds:
        os.close(fd)


async def refusal(control: socket.socket, limit_s: float = 30, uid: int | None = None) -> str:
    """Why the core refuses; it leaves nothing open."""
    fd = control.fileno()
    with pytest.raises(LinkError) as refused:
        await welcome(control, limit_s, uid)
    assert not is_open(fd)
    return str(refused.value)


async def test_a_descriptor_that_is_left_open_would_be_seen() -> None:
    before = open_files()
    fd = memfd()
    assert opened_since(before)
    os.close(fd)
    assert not opened_since(before)


async def test_a_front_and_the_core_find_each_other_and_share_memory() -> None:
    before = open_files()
    listening, name = control_socket.listen()
    ours = Region.create(SLOTS, SLOT_BYTES)
    front = control_socket.connect(name)
    greeting = asyncio.create_task(greet(front, ours, 30))
    core, _ = await asyncio.get_running_loop().sock_accept(listening)
    theirs = await welcome(core)
    await greeting
    assert not os.get_inheritable(theirs.fd)
    ours.picture(1, 2, 2)[:] = 7
    assert (theirs.picture(1, 2, 2) == 7).all()
    theirs.write_row(1, np.ones(3, np.float32))
    assert ours.read_row(1, 3).tolist() == [1, 1, 1]
    for used in (theirs, ours, core, front, listening):
        used.close()
    assert not opened_since(before)


async def test_a_front_that_comes_while_there_is_no_core_is_answered_by_the_next_one() -> None:
    """The first core accepts and dies; the parent keeps the listening socket."""
    listening, name = control_socket.listen()
    ours = Region.create(SLOTS, SLOT_BYTES)
    loop = asyncio.get_running_loop()
    first = control_socket.connect(name)
    greeting = asyncio.create_task(greet(first, ours, 30))
    dead, _ = await loop.sock_accept(listening)
    dead.close()
    with pytest.raises(LinkError):
        await greeting
    second = control_socket.connect(name)
    greeting = asyncio.create_task(greet(second, ours, 30))
    await asyncio.sleep(0)
    incarnation = socket.socket(fileno=os.dup(listening.fileno()))
    core, _ = await loop.sock_accept(incarnation)
    theirs = await welcome(core)
    await greeting
    for used in (theirs, ours, core, second, incarnation, listening):
        used.close()


async def test_without_the_parent_there_is_nobody_to_connect_to() -> None:
    before = open_files()
    listening, name = control_socket.listen()
    listening.close()
    with pytest.raises(LinkError, match="parent is gone"):
        control_socket.connect(name)
    assert not opened_since(before)


async def test_a_full_backlog_refuses_instead_of_blocking() -> None:
    listening, name = control_socket.listen()
    listening.listen(0)
    fronts = [control_socket.connect(name)]
    with pytest.raises(LinkError, match="wait for the core"):
        fronts.append(control_socket.connect(name))
    for used in (*fronts, listening):
        used.close()


async def test_two_listening_sockets_have_different_names() -> None:
    (first, one), (second, other) = control_socket.listen(), control_socket.listen()
    assert one != other
    first.close()
    second.close()


async def test_what_follows_the_first_message_is_left_for_the_link() -> None:
    control, peer = socket.socketpair()
    peer.setblocking(False)
    send(peer, HELLO, [memfd()])
    peer.send(b"rest")
    region = await welcome(control)
    assert control.recv(100) == b"rest"
    control.send(encode(Granted(1)))
    ours = Region.create(SLOTS, SLOT_BYTES)
    await greet(peer, ours)
    assert peer.recv(100) == encode(Granted(1))
    for used in (region, ours, control, peer):
        used.close()


async def test_a_hello_in_pieces_is_read() -> None:
    control, peer = socket.socketpair()
    loop = asyncio.get_running_loop()
    region = asyncio.create_task(welcome(control, 30))
    data = encode(HELLO)
    fd = memfd()
    socket.send_fds(peer, [data[:1]], [fd])
    os.close(fd)
    peer.setblocking(False)
    for at in range(1, len(data)):
        await asyncio.sleep(0)
        await loop.sock_sendall(peer, data[at : at + 1])
    (await region).close()
    control.close()
    peer.close()


@pytest.mark.parametrize(
    ("fds", "what"),
    [
        (list, "0 descriptors"),
        (lambda: [memfd(), memfd()], "2 descriptors"),
        (lambda: [memfd() for _ in range(253)], "253 descriptors"),
        (lambda: [memfd(seals=0)], "not sealed"),
        (lambda: [memfd(seals=fcntl.F_SEAL_SHRINK)], "not sealed"),
        (lambda: [memfd(SLOTS * SLOT_BYTES - 1)], "bytes, not"),
        (lambda: [memfd(0)], "bytes, not"),
        (lambda: [os.open("/dev/zero", os.O_RDWR)], "no memory that can be shared"),
        (lambda: [os.open(__file__, os.O_RDONLY)], "no memory that can be shared"),
    ],
    ids=["none", "two", "the most", "unsealed", "may grow", "small", "empty", "device", "file"],
)
async def test_descriptors_that_are_no_region_are_refused_and_closed(fds: Callable[[], list[int]], what: str) -> None:
    before = open_files()
    control, peer = socket.socketpair()
    send(peer, HELLO, fds())
    assert what in await refusal(control)
    assert peer.recv(100) == b""
    peer.close()
    assert not opened_since(before)


async def test_a_descriptor_that_comes_late_counts_too() -> None:
    before = open_files()
    control, peer = socket.socketpair()
    data = encode(HELLO)
    for piece, fd in ((data[:6], memfd()), (data[6:], memfd())):
        socket.send_fds(peer, [piece], [fd])
        os.close(fd)
    assert "2 descriptors" in await refusal(control)
    peer.close()
    assert not opened_since(before)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (Hello(PROTOCOL + 1, SLOTS, SLOT_BYTES), f"protocol {PROTOCOL + 1}"),
        (Hello(PROTOCOL, SLOTS, SLOT_BYTES + 1), "cannot have"),
        (Hello(PROTOCOL, SLOTS, 1), "cannot have"),
        (Hello(PROTOCOL, SLOTS + 1, SLOT_BYTES), "bytes, not"),
        (Hello(PROTOCOL, 0, SLOT_BYTES), "cannot be read"),
        (Hello(PROTOCOL, 1 << 16, 1 << 30), "bytes, not"),
        (Hello(PROTOCOL, 1 << 20, 1 << 40), "cannot be read"),
        (Granted(1), "cannot be read"),
    ],
)
async def test_a_first_message_that_is_wrong_is_refused(message: Message, what: str) -> None:
    before = open_files()
    control, peer = socket.socketpair()
    send(peer, message, [memfd()])
    assert what in await refusal(control)
    peer.close()
    assert not opened_since(before)


async def test_a_front_must_begin_with_hello_and_the_core_with_welcome() -> None:
    control, peer = socket.socketpair()
    send(peer, Cancel(1), [memfd()])
    assert "Cancel instead of Hello" in await refusal(control)
    peer.close()
    control, peer = socket.socketpair()
    peer.setblocking(False)
    control.send(encode(Catalogue(False, [], {})))
    with pytest.raises(LinkError, match="Catalogue instead of Welcome"):
        await greet(peer, Region.create(SLOTS, SLOT_BYTES))
    control.close()


async def test_a_process_of_another_user_is_refused_before_anything_is_read() -> None:
    before = open_files()
    control, peer = socket.socketpair()
    send(peer, HELLO, [memfd()])
    assert f"user is {os.geteuid()}, not 12345" in await refusal(control, uid=12345)
    peer.close()
    assert not opened_since(before)


@pytest.mark.parametrize("sent_bytes", [0, 1, 4, 10])
async def test_a_front_that_says_nothing_more_is_left_and_the_loop_goes_on(sent_bytes: int) -> None:
    before = open_files()
    control, peer = socket.socketpair()
    if sent_bytes:
        fd = memfd()
        socket.send_fds(peer, [encode(HELLO)[:sent_bytes]], [fd])
        os.close(fd)
    assert "did not answer within 0.05 s" in await refusal(control, 0.05)
    peer.close()
    assert not opened_since(before)


@pytest.mark.parametrize("sent_bytes", [0, 1, 4, 10])
async def test_a_front_that_ends_amid_its_hello_is_an_error_of_the_link(sent_bytes: int) -> None:
    before = open_files()
    control, peer = socket.socketpair()
    if sent_bytes:
        fd = memfd()
        socket.send_fds(peer, [encode(HELLO)[:sent_bytes]], [fd])
        os.close(fd)
    peer.close()
    assert "closed the connection" in await refusal(control)
    assert not opened_since(before)


async def test_a_front_that_has_gone_before_its_welcome_leaves_nothing() -> None:
    before = open_files()
    control, peer = socket.socketpair()
    send(peer, HELLO, [memfd()])
    peer.close()
    assert "broke" in await refusal(control)
    assert not opened_since(before)


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\0\0\xc1"])
async def test_a_stranger_is_refused(data: bytes) -> None:
    control, peer = socket.socketpair()
    peer.send(data)
    await refusal(control)
    peer.close()


async def test_a_core_that_does_not_answer_is_left_after_the_limit() -> None:
    before = open_files()
    control, peer = socket.socketpair()
    peer.setblocking(False)
    ours = Region.create(SLOTS, SLOT_BYTES)
    with pytest.raises(LinkError, match="core did not answer"):
        await greet(peer, ours, 0.05)
    assert is_open(ours.fd)  # for the next attempt
    ours.close()
    control.close()
    assert not opened_since(before)


async def test_a_core_of_another_protocol_is_refused() -> None:
    control, peer = socket.socketpair()
    peer.setblocking(False)
    control.send(encode(Welcome(PROTOCOL + 1)))
    ours = Region.create(SLOTS, SLOT_BYTES)
    with pytest.raises(LinkError, match="restart"):
        await greet(peer, ours)
    ours.close()
    control.close()


async def test_descriptors_from_a_core_are_closed() -> None:
    before = open_files()
    control, peer = socket.socketpair()
    peer.setblocking(False)
    send(control, Welcome(PROTOCOL), [memfd(), memfd()])
    ours = Region.create(SLOTS, SLOT_BYTES)
    await greet(peer, ours)
    for used in (ours, control, peer):
        used.close()
    assert not opened_since(before)


async def test_a_handshake_that_is_cancelled_leaves_nothing() -> None:
    before = open_files()
    control, peer = socket.socketpair()
    fd = memfd()
    socket.send_fds(peer, [encode(HELLO)[:5]], [fd])
    os.close(fd)
    ours = Region.create(SLOTS, SLOT_BYTES)
    front, silent = socket.socketpair()
    front.setblocking(False)
    tasks = [asyncio.create_task(welcome(control)), asyncio.create_task(greet(front, ours))]
    for _ in range(3):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    for used in (ours, silent, peer):
        used.close()
    assert not opened_since(before)
