"""Guard: runs a command; ends all its processes when it ends, on SIGTERM, and when the guard's own parent is gone.

Processes that left their group or lost their parent become children of the guard, so none is lost (prctl(2)).
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # of linux/prctl.h
_GRACE_S = 5.0
_LOOK_S = 0.05


def family(root: int) -> list[int]:
    """The living processes below `root`, from /proc."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[1-9]*"):
        fields = stat(int(process.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(process.name))
    found = list(children.get(root, ()))
    for process_id in found:  # grows meanwhile
        found += children.get(process_id, ())
    return found


def stat(process_id: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on; none where the process is gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def main(command: list[str]) -> int:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        return subprocess.Popen(command, start_new_session=True).wait()
    finally:  # also of a signal that came before Popen had returned
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(time.monotonic() + _GRACE_S)


def _end(deadline_s: float) -> None:
    """Return when no process is left. Children of the guard are asked to end; at the deadline all are killed."""
    asked: set[int] = set()
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        living = family(os.getpid())
        if not living:
            return
        if time.monotonic() > deadline_s:
            _send(signal.SIGKILL, living)
        mine = {each for each in living if stat(each)[1:2] == [str(os.getpid())]}
        _send(signal.SIGTERM, mine - asked)
        asked |= mine
        time.sleep(_LOOK_S)


def _send(number: signal.Signals, processes: Iterable[int]) -> None:
    for process_id in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
