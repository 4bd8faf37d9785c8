"""A running `parent_program`, the lines that it and its children wrote, and what the system says of processes."""

import json
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY

_DEADLINE_S = 60  # far more than any machine needs
_END = "all have closed their standard output"


class Tree:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._unread: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def until(self, pattern: str) -> str:
        """Wait for a further line in which this is found; returns the first group, or the line."""
        while True:
            line = self._unread.get(timeout=_DEADLINE_S)
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found[1] if found.groups() else line
            assert line != _END, f"{pattern} was never said: {self.lines}"

    def pid_of(self, name: str) -> int:
        """Wait for a further start of this child."""
        return int(self.until(rf"^{name} started (\d+)"))

    def pids(self, names: Sequence[str]) -> dict[str, int]:
        """Wait until all of these are ready."""
        waiting, pids = set(names), {}
        while waiting:
            name, what = self.until(r"^(\S+ (?:started \d+|ready))$").split(maxsplit=1)
            if what == "ready":
                waiting.discard(name)
            else:
                pids[name] = int(what.split()[1])
        return pids

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait until the parent and all that write to its standard output have ended."""
        code = self.process.wait(_DEADLINE_S)
        self.until(f"^{_END}$")
        return code

    def close(self) -> None:
        """Kill the parent, and wait until its children have ended too."""
        self.process.kill()
        self._reader.join(_DEADLINE_S)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._unread.put(line.rstrip())
        self._unread.put(_END)


@contextmanager
def tree(
    core: dict[str, Any] | None = None,
    fronts: Sequence[dict[str, Any]] = ({},),
    prefix: Sequence[str] = (),
    **limits: float,
) -> Iterator[Tree]:
    """A parent with the core and front-0, front-1, …; limits are those of `Limits`, and never reached by default."""
    given = {
        "core": {"name": "core", **(core or {})},
        "fronts": [{"name": f"front-{number}", **front} for number, front in enumerate(fronts)],
        "limits": {"fronts_leave_s": 3600, "core_leaves_s": 3600, "hang_s": 3600, "longest_pause_s": 0.01, **limits},
    }
    command = [*prefix, sys.executable, "-m", "tests.support.parent_program", json.dumps(given)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        running = Tree(process)
        try:
            yield running
        finally:
            running.close()


def state(pid: int) -> tuple[str, int]:
    """State letter and parent of a process; ("", 0) where there is none."""
    try:
        letter, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return letter, int(parent)


def is_gone(pid: int) -> bool:
    return state(pid)[0] in ("", "Z", "X")


def children(pid: int) -> dict[int, str]:
    """State letters of the children of a process."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {child: letter for child in pids for letter, parent in [state(child)] if parent == pid}


def descriptors(pid: int) -> list[str]:
    """What each open descriptor of a process leads to."""
    return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def eventually(holds: Callable[[], bool]) -> bool:
    """Poll what nobody tells: whether it holds before the deadline."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True
