"""Serving: NVIDIA's Triton as a process, with a bundle's graph in its Python backend, as long as it is measured."""

import os
import shutil
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
from bench.running import ROOT, ServerFailed
from bench.triton import tools
from bundle.files import Bundle
from server.host import cores

MAX_BATCH = 32

_START_S, _STOP_S = 120.0, 40.0
_LOOK_S = 0.1
_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
input [{{ name: "pixels" data_type: TYPE_UINT8 dims: [{height}, {width}, 3] }}]
output [{{ name: "probabilities" data_type: TYPE_FP32 dims: [{classes}] }}]
dynamic_batching {{}}
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""
"""Batching as Triton does it where nothing else is said: without waiting for more requests."""


class Triton:
    """A Triton that is ready. Its processes are those below a guard."""

    def __init__(self, process: "subprocess.Popen[bytes]", ports: tuple[int, int], log: Path) -> None:
        """`ports`: of HTTP and of gRPC."""
        self.url, self.grpc = f"http://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
        self._process, self._log = process, log

    def cpu_s(self) -> float:
        """User and system seconds of all its processes."""
        fields = map(guard.stat, guard.family(self._process.pid))
        return sum(sum(map(int, each[11:15])) for each in fields if each) / os.sysconf("SC_CLK_TCK")

    def await_ready(self) -> None:
        """Raises ServerFailed where it ends, or is not ready in time."""
        deadline_s = time.monotonic() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                tail = self._log.read_text("utf-8", "replace").splitlines()[-8:]
                raise ServerFailed("\n  ".join(["Triton ended or was not ready in time. Its log's end:", *tail]))
            time.sleep(_LOOK_S)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/health/ready").is_success
        except httpx.TransportError:
            return False


@contextmanager
def started(bundle: Bundle) -> Iterator[Triton]:
    """A ready one on free ports of 127.0.0.1; all its processes have ended when the block has.

    Raises ServerFailed where it cannot start, and NoTools.
    """
    programs, variables = tools.tritonserver()
    told = {
        "BENCH_PACKAGES": str(tools.packages()),
        "BENCH_GRAPH": str(bundle.graph("fp32")[1].resolve()),
        "BENCH_THREADS": str(cores.usable()),
    }
    with tempfile.TemporaryDirectory(prefix="triton-", ignore_cleanup_errors=True) as name:
        folder, ports = Path(name), _free_ports()
        _lay_out(folder, programs, bundle)
        command = [sys.executable, "-m", guard.__name__, str(programs / "bin" / "tritonserver")]
        with (folder / "log").open("wb") as output:
            process = subprocess.Popen(
                [*command, *_options(folder, *ports)], cwd=ROOT, env={**variables, **told}, stdout=output, stderr=output
            )
        try:
            server = Triton(process, ports[:2], folder / "log")
            server.await_ready()
            yield server
        finally:
            process.terminate()
            process.wait(_STOP_S)
            for left in Path("/dev/shm").glob(
                f"{folder.name}*"
            ):  # where Triton did not end within the guard's patience
                left.unlink()


def _lay_out(folder: Path, programs: Path, bundle: Bundle) -> None:
    """The model repository, and the Python backend with the stub of this Python, under a folder."""
    manifest = bundle.manifest
    size = manifest.preprocessing
    model = folder / "models" / manifest.name
    (model / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("model.py"), model / "1")
    (model / "config.pbtxt").write_text(
        _CONFIG.format(name=manifest.name, max_batch=MAX_BATCH, height=size.height, width=size.width,
                       classes=manifest.labels.classes)
    )  # fmt: skip
    shutil.copytree(programs / "backends" / "python", folder / "backends" / "python")
    shutil.copy(tools.stub(programs), folder / "backends" / "python")


def _options(folder: Path, http_port: int, grpc_port: int, metrics_port: int) -> list[str]:
    return [
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        *(f"--http-port={http_port}", f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}"),
        *("--http-address=127.0.0.1", "--grpc-address=127.0.0.1"),
        f"--backend-config=python,shm-region-prefix-name={folder.name}",
    ]


def _free_ports() -> tuple[int, int, int]:
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        for each in (first, second, third):
            each.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1], third.getsockname()[1]
