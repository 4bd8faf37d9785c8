"""The parent of the processes: who is started again, and who ends when, in which order and with which code."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY
from tests.support.process_tree import children, descriptors, eventually, is_gone, tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: prctl(2) and /proc")
ALL = ("core", "front-0", "front-1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_fronts_first_and_then_the_core(number: signal.Signals) -> None:
    with tree(fronts=({"lingers": True}, {"lingers": True})) as running:
        pids = running.pids(ALL)
        running.process.send_signal(number)
        for _ in range(2):
            running.until("leaves")
        for name in ("front-0", "front-1"):
            os.kill(pids[name], signal.SIGUSR1)
        assert running.exit_code() == 0
    said = [line for line in running.lines if line.endswith((" leaves", " ends"))]
    assert sorted(said[:2]) == ["front-0 leaves", "front-1 leaves"]
    assert sorted(said[2:4]) == ["front-0 ends", "front-1 ends"]
    assert said[4:] == ["core leaves"]


def test_a_hang_up_that_nohup_ignores_ends_nobody() -> None:
    with tree(prefix=("sh", "-c", 'trap "" HUP; exec "$@"', "sh")) as running:
        running.pids(("core", "front-0"))
        running.process.send_signal(signal.SIGHUP)
        assert running.end(signal.SIGTERM) == 0
    assert [line for line in running.lines if "the fronts leave" in line] == [
        "parent: SIGTERM: the fronts leave, then the core"
    ]


def test_two_signals_at_once_are_one_and_a_later_one_kills_everybody() -> None:
    with tree(fronts=({"lingers": True},)) as running:
        pids = running.pids(("core", "front-0"))
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGINT)
        running.until("front-0 leaves")
        while running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert running.exit_code() == 128 + signal.SIGTERM
        assert all(map(is_gone, pids.values()))
    assert sum("second signal" in line for line in running.lines) == 1
    assert "core leaves" not in running.lines


@pytest.mark.parametrize("stopped", [False, True], ids=["ignores SIGTERM", "is stopped"])
def test_a_front_that_does_not_leave_is_killed_after_its_limit_and_the_core_leaves_in_order(
    stopped: bool,
) -> None:
    with tree(fronts=({"lingers": True}, {}), fronts_leave_s=1) as running:
        pids = running.pids(ALL)
        if stopped:
            os.kill(pids["front-0"], signal.SIGSTOP)
        assert running.end() == 1
        assert all(map(is_gone, pids.values()))
    assert "parent: killing front-0" in running.lines
    assert running.lines.index("front-1 leaves") < running.lines.index("core leaves")


def test_a_core_that_does_not_leave_is_killed_after_its_limit() -> None:
    with tree(core={"lingers": True}, core_leaves_s=0.5) as running:
        pids = running.pids(("core", "front-0"))
        assert running.end() == 1
        assert all(map(is_gone, pids.values()))


@pytest.mark.parametrize(("codes", "expected"), [((0, 1, 70), 1), ((0, 0, 70), 70), ((0, 0, 0), 0)])
def test_the_exit_code_tells_whether_work_was_cut_short(codes: tuple[int, int, int], expected: int) -> None:
    front_0, front_1, core = ({"lingers": True, "ends_with": code} for code in codes)
    with tree(core, (front_0, front_1)) as running:
        pids = running.pids(ALL)
        running.process.terminate()
        for _ in range(2):
            running.until("^front-. leaves")
        os.kill(pids["front-0"], signal.SIGUSR1)
        os.kill(pids["front-1"], signal.SIGUSR1)
        running.until("core leaves")
        os.kill(pids["core"], signal.SIGUSR1)
        assert running.exit_code() == expected


@pytest.mark.parametrize("name", ALL)
def test_whoever_dies_is_started_again_and_the_others_do_not_notice(name: str) -> None:
    with tree(fronts=({}, {})) as running:
        pids = running.pids(ALL)
        os.kill(pids[name], signal.SIGSEGV)
        running.until(rf"parent: {name} was killed by SIGSEGV after .* s: starting it again .*\(start 2\)")
        again = running.pids((name,))[name]
        assert set(children(running.pid)) == {*pids.values(), again} - {pids[name]}
        assert running.end() == 0


@pytest.mark.parametrize(
    ("core", "front", "expected"),
    [
        ({"exits": 3, "fatal": (2, 3)}, {}, 3),
        ({"exits": 2, "fatal": (2, 3)}, {}, 2),
        ({}, {"exits": 2, "fatal": (2,)}, 2),
    ],
)
def test_a_child_that_can_never_work_ends_the_tree_with_its_code(
    core: dict[str, object], front: dict[str, object], expected: int
) -> None:
    with tree(core, (front, {})) as running:
        assert running.exit_code() == expected
        assert not any("again" in line for line in running.lines)


def test_a_child_that_was_ready_once_is_started_again_whatever_its_code() -> None:
    with tree(core={"ends_with": 3, "fatal": (2, 3)}) as running:
        pids = running.pids(("core", "front-0"))
        os.kill(pids["core"], signal.SIGUSR1)
        running.until("core ended with code 3 after .* s: starting it again")
        os.kill(running.pids(("core",))["core"], signal.SIGUSR1)
        running.pids(("core",))
        assert running.end() == 0


def test_a_child_that_fails_at_every_start_does_not_hold_up_the_end() -> None:
    with tree(fronts=({"exits": 5}, {}), longest_pause_s=3600) as running:
        running.pids(("front-1", "core"))
        running.until(r"front-0 .* starting it again in 0.4 s")
        assert running.end() == 0


def test_the_parent_imports_nothing_that_is_large() -> None:
    code = "import sys, server.processes.parent.parent, server.host.listening; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in loaded.stdout.split()}
    assert "asyncio" in modules
    assert not modules & {"fastapi", "pydantic", "uvicorn", "grpc", "numpy", "onnxruntime", "PIL", "prometheus_client"}


def test_twenty_restarts_leave_no_open_file_and_no_zombie() -> None:
    with tree() as running:
        pid = running.pids(("core", "front-0"))["front-0"]
        before = len(descriptors(running.pid))
        for _ in range(20):
            os.kill(pid, signal.SIGKILL)
            pid = running.pids(("front-0",))["front-0"]
        assert eventually(lambda: len(descriptors(running.pid)) == before)
        assert eventually(lambda: "Z" not in children(running.pid).values())
        assert len(children(running.pid)) == 2
        assert running.end() == 0
