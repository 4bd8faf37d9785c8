"""Running: a Sesame server of our own, as a process, for as long as a measurement needs it."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
"""Where `python -m server` and `python -m export` run."""

_LISTENING = re.compile(r"listening http=(http://\S+) grpc=(\S+)")
_PERMITS = re.compile(r"^sesame_permits_taken\{.*\} (\S+)$", re.MULTILINE)
_START_S, _IDLE_S, _STOP_S = 120.0, 60.0, 40.0
_LOOK_S = 0.05


class ServerFailed(Exception):
    """The server did not start, become idle or stop as it should; the message ends with its last log lines."""


class Server:
    """A server that is ready. Its settings besides ports and bundles are the defaults and SESAME_ variables."""

    def __init__(self, bundles: Path, log: Path, module: str, options: Sequence[str]) -> None:
        """Start it and wait until it is ready; raises ServerFailed, and then no process is left."""
        command = [sys.executable, "-m", module, "--http-port", "0", "--grpc-port", "0", "--log-level", "info"]
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*command, "--model-repository", str(bundles.resolve()), *options], cwd=ROOT, stderr=stderr
            )
        self._log = log
        self._client = httpx.Client()  # kept: a new one costs more than the server's answer
        self.url = self.grpc = ""
        try:
            self._await("listening", _START_S, self._listening)
            self._await("ready", _START_S, self._ready)
        except BaseException:
            self.kill()
            raise

    def cpu_s(self) -> float:
        """Seconds of processor time used so far, by all processes of the server that run."""
        return sum(self.cpu_by_process().values())

    def cpu_by_process(self) -> dict[str, float]:
        """The same by process: `server`, and with several processes `core`, `front-0` and so on."""
        return {"server": _cpu_s(self._process.pid)} | {name: _cpu_s(pid) for name, pid in self._children().items()}

    def memory_bytes(self) -> int:
        """Resident now."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def batch(self) -> int:
        """The images that its only engine takes at once."""
        return int(self._get("/models").json()["models"][0]["engine"]["batch"])

    def metrics(self) -> str:
        """The text of `/metrics`."""
        return self._get("/metrics").text

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def await_idle(self) -> None:
        """Return once no image is being worked on: those of callers who left run on for a while."""
        self._await("idle", _IDLE_S, self._idle)

    def stop(self) -> None:
        """End it as an operator does. Raises ServerFailed where it does not end with code 0."""
        self._process.terminate()
        try:
            code = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not stop within {_STOP_S:.0f} s of SIGTERM") from None
        if code != 0:
            raise self._failed(f"ended with code {code} after SIGTERM")

    def kill(self) -> None:
        """End it at once, where it still runs."""
        self._client.close()
        self._process.kill()
        self._process.wait()

    def _await(self, what: str, limit_s: float, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + limit_s
        while not done():
            if self._process.poll() is not None:
                raise self._failed(f"ended with code {self._process.returncode} before it was {what}")
            if time.monotonic() > deadline_s:
                raise self._failed(f"was not {what} within {limit_s:.0f} s")
            time.sleep(_LOOK_S)

    def _listening(self) -> bool:
        found = _LISTENING.search(self._log.read_text("utf-8", "replace"))
        self.url, self.grpc = found.groups() if found else ("", "")
        return found is not None

    def _ready(self) -> bool:
        """All fronts are, or load would go to one of them."""
        fronts = sum(name.startswith("front") for name in self._children())
        said = self._log.read_text("utf-8", "replace").count(" server.startup.app ready\n")
        return said >= max(1, fronts) and self._get("/readyz").status_code == httpx.codes.OK

    def _children(self) -> dict[str, int]:
        """Pids by name, which is their last argument."""
        pids = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return {Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")[-1]: int(pid) for pid in pids}

    def _idle(self) -> bool:
        return not any(map(float, _PERMITS.findall(self.metrics())))

    def _get(self, path: str) -> httpx.Response:
        try:
            return self._client.get(self.url + path)
        except httpx.HTTPError as error:
            raise self._failed(f"did not answer GET {path} ({type(error).__name__})") from error

    def _failed(self, how: str) -> ServerFailed:
        tail = self._log.read_text("utf-8", "replace").splitlines()[-5:]
        return ServerFailed("\n  ".join([f"The server {how}. The end of its log:", *tail]))


def _cpu_s(pid: int) -> float:
    """User and system: fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(bundles: Path, module: str = "server", options: Sequence[str] = ()) -> Iterator[Server]:
    """A ready server of the bundles of a folder, on free ports; it has ended when the block has.

    Raises ServerFailed where it cannot start or, at the block's end, does not stop in order.
    """
    with tempfile.TemporaryDirectory(prefix="sesame-bench-") as folder:
        server = Server(bundles, Path(folder) / "server.log", module, options)
        try:
            yield server
            server.stop()
        finally:
            server.kill()
