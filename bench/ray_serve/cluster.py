"""Cluster: Ray on this machine with deploy/ray.yaml on it, for as long as a measurement needs it."""

import contextlib
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.peers import guard
from bench.running import ROOT, ServerFailed

BIN = ROOT / ".venv-field" / "ray" / "bin"
REPOSITORY = ROOT / "model_repository"
ENGINE = {"engine": "onnxruntime-cpu", "precision": "fp32"}
"""The same for all servers that are compared: `auto` would choose among what is installed for each."""

_ADDRESS = "127.0.0.2"  # Ray puts the machine's address in the place of 127.0.0.1
_CPUS = 2
_STORE_BYTES = 100_000_000  # of the object store, which requests do not use
_START_S, _DEPLOY_S, _STOP_S, _ANSWER_S = 120.0, 240.0, 40.0, 60.0
_LOOK_S = 0.1
_ASK = """
import ray
from ray import serve
ray.init(log_to_driver=False, logging_level="ERROR")
print(serve.status().applications["sesame"].deployments["Sesame"].replica_states.get("RUNNING", 0))
"""
_REPLICA = b"ray::ServeReplica:sesame:Sesame"


class NoRay(Exception):
    """Ray is not installed; the message says how to install it."""


class Cluster:
    """A cluster that answers; it meets `bench.wrk.Loaded`. Its processes are those below a guard."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", ports: Sequence[int], photo: Path, environment: Mapping[str, str]
    ) -> None:
        """`ports`: of HTTP and gRPC. `environment`: with it Ray's own programs find the cluster."""
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.grpc = f"127.0.0.1:{ports[1]}"
        self._process, self._photo, self._environment = process, photo, environment

    def cpu_s(self) -> float:
        """User and system seconds of all its processes, also of those that have ended."""
        fields = map(guard.stat, guard.family(self._process.pid))
        return sum(sum(map(int, each[11:15])) for each in fields if each) / os.sysconf("SC_CLK_TCK")

    def await_idle(self) -> None:
        """Return when a photo sent now is answered."""
        httpx.post(f"{self.url}/classify", content=self._photo.read_bytes(), timeout=_ANSWER_S)

    def replicas(self) -> set[int]:
        """The processes of the replicas, also of one that starts or ends."""
        return {each for each in guard.family(self._process.pid) if _command(each).startswith(_REPLICA)}

    def running(self) -> int:
        """How many replicas get requests, as Ray says. Asking takes seconds."""
        asked = subprocess.run(
            [str(BIN / "python"), "-c", _ASK], env=self._environment, capture_output=True, text=True, timeout=_START_S
        )
        return int(asked.stdout.split()[-1]) if asked.returncode == 0 else 0

    def await_running(self, wanted: int, limit_s: float) -> float:
        """Return when so many get requests: after so many seconds. Raises ServerFailed at the limit."""
        began_s = time.monotonic()
        while (found := self.running()) != wanted:
            if time.monotonic() - began_s > limit_s:
                raise ServerFailed(f"After {limit_s:.0f} s there are {found} replicas, not {wanted}.")
        return time.monotonic() - began_s

    def answers(self) -> bool:
        """Whether a replica does."""
        try:
            return httpx.get(f"{self.url}/livez", timeout=_ANSWER_S).is_success
        except httpx.TransportError:
            return False


@contextmanager
def cluster(
    photo: Path, deployment: Mapping[str, Any], settings: Mapping[str, Any], multiplexed_models: int = 0
) -> Iterator[Cluster]:
    """A cluster on loopback with the demo; all its processes have ended when the block has.

    `deployment` and `settings` replace values in deploy/ray.yaml; None takes one away. Raises NoRay and ServerFailed.
    """
    if not (BIN / "ray").exists():
        raise NoRay("Ray is not installed: run 'make setup-ray'.")
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        ports = [_free_port() for _ in range(4)]
        log, config = Path(folder) / "log", Path(folder) / "config.yaml"
        config.write_text(json.dumps(_config(ports, deployment, settings, multiplexed_models)))
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        environment = os.environ | token | {"RAY_USAGE_STATS_ENABLED": "0"}
        start = (
            f"start --head --block --node-ip-address {_ADDRESS} --port {ports[2]} --ray-client-server-port {ports[3]} "
            f"--num-cpus {_CPUS} --object-store-memory {_STORE_BYTES} --include-dashboard=false --disable-usage-stats "
            f"--temp-dir {folder}"
        )
        with log.open("wb") as output:
            command = [sys.executable, "-m", guard.__name__, str(BIN / "ray"), *start.split()]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            _await(lambda: b"block forever" in log.read_bytes(), _START_S, process, log)
            environment |= {"RAY_ADDRESS": f"{_ADDRESS}:{ports[2]}"}
            found = Cluster(process, ports[:2], photo, environment)
            serve = [str(BIN / "serve"), "run", "--non-blocking", str(config)]
            with log.open("ab") as output:
                subprocess.run(serve, cwd=ROOT, env=environment, stdout=output, stderr=output, timeout=_DEPLOY_S)
            _await(found.answers, _DEPLOY_S, process, log)
            yield found
        finally:
            process.terminate()
            process.wait(_STOP_S)


def _config(
    ports: Sequence[int], deployment: Mapping[str, Any], settings: Mapping[str, Any], multiplexed_models: int
) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "ray.yaml").read_text("utf-8"))
    config["http_options"]["port"], config["grpc_options"]["port"] = ports[:2]
    (application,) = config["applications"]
    application["args"]["settings"] |= {"model_repository": str(REPOSITORY), **ENGINE, **settings}
    application["args"]["multiplexed_models"] = multiplexed_models
    (only,) = application["deployments"]
    application["deployments"] = [{name: value for name, value in (only | deployment).items() if value is not None}]
    return config


def _await(done: Callable[[], bool], limit_s: float, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline_s = time.monotonic() + limit_s
    while not done():
        if process.poll() is not None or time.monotonic() > deadline_s:
            tail = log.read_text("utf-8", "replace").splitlines()[-8:]
            raise ServerFailed("\n  ".join(["Ray did not start or deploy. Its log's end:", *tail]))
        time.sleep(_LOOK_S)


def _command(process_id: int) -> bytes:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes()
    except OSError:
        return b""


def _free_port() -> int:
    """Not one that the system itself gives to connections, which Ray opens many of before it listens there."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("", port))
            return port
