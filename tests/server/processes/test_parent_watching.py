"""The parent of the processes: who hangs is killed, and nobody is left behind, whoever dies."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from server.processes.parent.backoff import Backoff
from server.processes.parent.child import Child, ChildSpec
from server.processes.parent.lifeline import HEADER, PARENT_GONE, READY
from server.processes.parent.reaper import Reaper
from tests.conftest import REPOSITORY
from tests.support.process_tree import children, descriptors, eventually, is_gone, state, tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: prctl(2) and /proc")


def test_a_child_that_is_stopped_or_whose_event_loop_is_blocked_is_killed_and_started_again() -> None:
    with tree(fronts=({"blocks_loop": True}, {}), hang_s=6) as running:
        pids = running.pids(("core", "front-0", "front-1"))
        os.kill(pids["front-1"], signal.SIGSTOP)
        hung = {running.until(r"parent: (\S+) pid=\d+ hangs") for _ in range(2)}
        assert hung == {"front-0", "front-1"}
        assert eventually(lambda: is_gone(pids["front-0"]) and is_gone(pids["front-1"]))
        assert not is_gone(pids["core"])


def test_when_the_parent_is_killed_nobody_is_left_not_even_who_is_stopped() -> None:
    with tree(fronts=({"lingers": True}, {})) as running:
        pids = running.pids(("core", "front-0", "front-1"))
        os.kill(pids["front-1"], signal.SIGSTOP)
        running.process.kill()
        assert eventually(lambda: all(map(is_gone, pids.values())))


def test_what_a_dead_child_started_is_killed_with_it() -> None:
    with tree(fronts=({"grandchild": "group"},)) as running:
        grandchild = int(running.until(r"has grandchild (\d+)"))
        child = state(grandchild)[1]
        running.until("front-0 ready")
        os.kill(child, signal.SIGKILL)
        assert eventually(lambda: state(grandchild) == ("", 0))
        assert running.end() == 0


def test_an_orphan_of_another_session_is_adopted_and_reaped() -> None:
    with tree(fronts=({"grandchild": "session"},)) as running:
        orphan = int(running.until(r"has grandchild (\d+)"))
        child = state(orphan)[1]
        running.until("front-0 ready")
        os.kill(child, signal.SIGKILL)
        assert eventually(lambda: state(orphan)[1] == running.pid)
        assert state(orphan)[0] != "Z"
        os.kill(orphan, signal.SIGKILL)
        assert eventually(lambda: state(orphan) == ("", 0))
        assert orphan not in children(running.pid)
        second = int(running.until(r"has grandchild (\d+)"))
        running.process.kill()
        os.kill(second, signal.SIGKILL)


def test_children_inherit_no_descriptor_but_standard_ones_and_their_lifeline() -> None:
    with tree(prefix=("sh", "-c", 'exec 9</dev/zero; exec "$@"', "sh")) as running:
        pids = running.pids(("core", "front-0"))
        assert "/dev/zero" in descriptors(running.pid)
        for pid in pids.values():
            opened = descriptors(pid)
            assert "/dev/null" in opened  # standard input
            assert sum(name.startswith("socket:") for name in opened) == 1
            assert "/dev/zero" not in opened
        assert running.end() == 0


def test_a_pause_grows_while_children_die_young_and_there_is_none_for_others() -> None:
    backoff = Backoff(longest_s=5)
    assert [backoff.pause_s(0.5) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert [backoff.pause_s(2.0), backoff.pause_s(1.9), backoff.pause_s(9)] == [0, 0.1, 0]


@pytest.fixture
def started_by_hand() -> Iterator[tuple[socket.socket, "subprocess.Popen[str]"]]:
    """Our end of the lifeline of a process that waits for its instructions, and the process."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "tests.support.child_program"]
    with ours, theirs:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=theirs.fileno(), stdout=subprocess.PIPE, text=True)
        theirs.close()
        with process:
            yield ours, process
            process.kill()


def test_a_child_whose_parent_died_before_it_was_heard_ends_at_once(
    started_by_hand: tuple[socket.socket, "subprocess.Popen[str]"],
) -> None:
    ours, process = started_by_hand
    ours.sendall(HEADER.pack(os.getppid(), 0, 0))  # not this process
    assert process.wait(60) == PARENT_GONE


def test_a_child_ends_when_its_lifeline_does(
    started_by_hand: tuple[socket.socket, "subprocess.Popen[str]"],
) -> None:
    ours, process = started_by_hand
    instructions = b'{"name": "core"}'
    ours.sendall(HEADER.pack(os.getpid(), 0, len(instructions)) + instructions)
    heard = b""
    while heard.count(READY) < 2:
        heard += ours.recv(64)
    ours.close()
    assert process.wait(60) == PARENT_GONE


def test_64_kib_of_instructions_arrive() -> None:
    with tree(core={"padding": "x" * (64_000)}) as running:
        running.pids(("core", "front-0"))
        assert running.end() == 0


@pytest.mark.anyio
async def test_instructions_that_do_not_fit_are_an_error_and_not_a_wait() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Child(ChildSpec("core", ["true"], instructions=bytes(1 << 24)), Reaper())


def test_on_a_terminal_that_stops_who_writes_in_the_background_children_write_and_all_end_with_it() -> None:
    in_terminal = "import pty, sys; pty.spawn(sys.argv[1:])"
    stopping = ("sh", "-c", 'stty tostop; exec "$@"', "sh")
    with tree(prefix=(sys.executable, "-c", in_terminal, *stopping)) as running:
        pids = running.pids(("core", "front-0"))
        running.process.kill()  # the terminal goes with it
        assert eventually(lambda: all(map(is_gone, pids.values())))


def test_a_program_that_no_parent_started_says_what_to_start() -> None:
    code = "from server.processes.parent.lifeline import Lifeline; Lifeline.attach()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert "NotAChild: " in ran.stderr
    assert "python -m server --fronts N" in ran.stderr
