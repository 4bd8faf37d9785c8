"""Server: a real Sesame in a process of its own, on the demo bundle, and how much memory it holds."""

import fcntl
import os
import re
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
_START_S, _STOP_S = 60.0, 5.0
_LOOK_S = 0.05
_PIPED_BYTES = 4096
_FILES = 1024  # that a process may have open unless it asks for more: what most machines begin with
_LISTENING = re.compile(r"listening http=http://\S+?:(\d+) grpc=\S+?:(\d+)")
_READY = re.compile(r" server\.startup\.app ready$", re.MULTILINE)
_FRONT = re.compile(r" front-\d+ started ")


class ServerFailed(Exception):
    """The server did not become ready; the message ends with its log."""


class Server:
    """`python -m server` on free ports of the loopback interface. Leaving the context ends the process."""

    def __init__(self, folder: Path, options: Sequence[str] = (), log_unread: bool = False) -> None:
        """Start it and wait until it is ready. Raises ServerFailed, and then no process is left.

        `folder`: for its log and its cache. `log_unread`: its log is a pipe that nobody reads once it is ready.
        """
        self._log = folder / "server.log"
        self._piped = ""
        self._stderr = self._log.open("wb")
        self._process = subprocess.Popen(
            _command(folder, options),
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("SESAME_")},
            stderr=subprocess.PIPE if log_unread else self._stderr,
        )
        self.pid = self._process.pid
        _, most = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (_FILES, most))
        try:
            if self._process.stderr:
                fcntl.fcntl(self._process.stderr, fcntl.F_SETPIPE_SZ, _PIPED_BYTES)  # soon full
            self.http_port, self.grpc_port = self._ports()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def memory_bytes(self) -> int:
        """Resident now, with its children; 0 where the process has ended."""
        return _memory_bytes(self.pid)

    def children(self) -> dict[str, int]:
        """The pids of its processes by their names, which are their last arguments."""
        pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")[-1]: int(pid) for pid in pids}

    def times_ready(self, name: str) -> int:
        """How often a process of that name has said that it is ready."""
        said = r"core is ready" if name == "core" else rf" {name} server\.startup\.app ready$"
        return len(re.findall(said, self.log(), re.MULTILINE))

    def terminate(self) -> None:
        self._process.terminate()

    def exit_code(self, limit_s: float) -> int | None:
        """Its exit code; None where it has not ended within the limit."""
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it, and return once it has ended."""
        self._process.kill()
        self._process.wait(_STOP_S)
        if self._process.stderr:
            self._process.stderr.close()
        self._stderr.close()

    def log(self) -> str:
        """All it has logged; of a log that is not read, what came before it was ready."""
        return self._piped or self._log.read_text(errors="replace")

    def _ports(self) -> tuple[int, int]:
        """The ports of HTTP and gRPC, once it is ready."""
        limit_s = time.monotonic() + _START_S
        while time.monotonic() < limit_s and self.alive:
            self._read_pipe()
            log = self.log()
            listening = _LISTENING.search(log)
            if listening and len(_READY.findall(log)) >= max(1, len(_FRONT.findall(log))):
                return int(listening[1]), int(listening[2])
        raise ServerFailed(f"The server did not become ready:\n{self.log()}")

    def _read_pipe(self) -> None:
        """Wait a moment for more of the log."""
        if self._process.stderr is None:
            time.sleep(_LOOK_S)
        elif select.select([self._process.stderr], [], [], _LOOK_S)[0]:
            self._piped += os.read(self._process.stderr.fileno(), _PIPED_BYTES).decode(errors="replace")


class Memory:
    """The largest resident memory of a process between entering and leaving, seen by a thread of its own."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.peak_bytes = max(self.peak_bytes, _memory_bytes(self._pid))


def _memory_bytes(pid: int) -> int:
    """Of a process and its children. What they share is counted for each."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()  # proc_pid_statm(5): the second is resident pages
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") + sum(_memory_bytes(int(child)) for child in children)


def _command(folder: Path, options: Sequence[str]) -> list[str]:
    fixed = ["--fronts=0", "--http-port=0", "--grpc-port=0", "--engine=onnxruntime-cpu", "--precision=fp32"]
    paths = [f"--model-repository={ROOT / 'model_repository'}", f"--cache-dir={folder / 'cache'}"]
    return [sys.executable, "-m", "server", *fixed, *paths, *options]
