"""Starting: a peer as a process of its own, for as long as it is measured."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.peers import guard
from bench.peers.bodies import Bodies
from bench.peers.catalogue import Peer
from bench.running import ROOT, ServerFailed
from bundle.files import Bundle
from server.host import cores

_START_S, _ANSWER_S, _STOP_S = 120.0, 60.0, 40.0
_LOOK_S = 0.1


class Started:
    """A peer that answers; it meets `bench.wrk.Loaded`. Its processes are those below a guard."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, bodies: Bodies, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process, self._bodies, self._log = process, bodies, log

    def cpu_s(self) -> float:
        """User and system seconds of all its processes, also of those that have ended."""
        fields = map(guard.stat, guard.family(self._process.pid))
        return sum(sum(map(int, each[11:15])) for each in fields if each) / os.sysconf("SC_CLK_TCK")

    def await_idle(self) -> None:
        """Return when an image sent now is answered: all that came before it have been worked on."""
        with httpx.Client(timeout=_ANSWER_S) as client:
            self._bodies.post(client, self.url, 0)

    def await_ready(self) -> None:
        """Raises ServerFailed where it ends, or does not answer in time."""
        deadline_s = time.monotonic() + _START_S
        with httpx.Client(timeout=_ANSWER_S) as client:
            while not self._answers(client):
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    tail = self._log.read_text("utf-8", "replace").splitlines()[-8:]
                    raise ServerFailed("\n  ".join(["The server ended or did not answer. Its log's end:", *tail]))
                time.sleep(_LOOK_S)

    def _answers(self, client: httpx.Client) -> bool:
        try:
            return self._bodies.post(client, self.url, 0).is_success
        except httpx.TransportError:
            return False


@contextmanager
def started(peer: Peer, python: Path, workers: int, bundle: Bundle, bodies: Bodies) -> Iterator[Started]:
    """A ready peer on a free port of 127.0.0.1; all its processes have ended when the block has.

    Raises ServerFailed where it cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as folder:
        port, log = _free_port(), Path(folder) / "log"
        fill = {"port": port, "workers": workers, "folder": folder}
        command = [sys.executable, "-m", guard.__name__, str(python), "-m", peer.module]
        environment = {name: value.format(**fill) for name, value in peer.variables.items()}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *peer.arguments.format(**fill).split()],
                cwd=ROOT, env=os.environ | environment | _told(bundle, port, workers), stdout=output, stderr=output,
            )  # fmt: skip
        try:
            server = Started(process, port, bodies, log)
            server.await_ready()
            yield server
        finally:
            process.terminate()
            process.wait(_STOP_S)


def _told(bundle: Bundle, port: int, workers: int) -> dict[str, str]:
    """What `servers/classifier.py` reads."""
    preprocessing = bundle.manifest.preprocessing
    return {
        "PEER_PORT": str(port),
        "PEER_MODEL": str(bundle.graph("fp32")[1]),
        "PEER_CORES": str(cores.usable()),
        "PEER_WORKERS": str(workers),
        "PEER_SIZE": str(preprocessing.height),
        "PEER_RESIZE_TO": str(preprocessing.resize_to),
        "PEER_INTERPOLATION": preprocessing.interpolation,
    }


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
