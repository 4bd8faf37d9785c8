"""Stack: the services of docker-compose.yml, as `docker compose` or a like command runs them for a user."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-containers-test"

_BUILD_S, _COMMAND_S, _READY_S = 1800.0, 120.0, 180.0
_LOOK_S = 0.2


class Complaint(Exception):
    """What a user would complain of."""


class Stack:
    """A project of its own on free ports. Leaving the context removes it with its volumes; the image stays."""

    def __init__(self, compose: Sequence[str], folder: Path, fronts: int) -> None:
        """`compose`: the command and its first arguments. `folder`: for files of its own. `fronts`: the setting."""
        token = folder / "admin_token"
        token.write_text(f"{TOKEN}\n")
        token.chmod(0o444)  # the container's user is another one
        self.http_port, self.grpc_port = _free_ports()
        self.engine = "docker" if Path(compose[0]).name == "docker" else "podman"
        self._compose = compose
        self._files = _files(folder, fronts)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SESAME_")},
            "COMPOSE_PROJECT_NAME": f"sesame-test-{os.getpid()}",
            "IMAGE": "sesame-test",
            "HTTP_PORT": str(self.http_port),
            "GRPC_PORT": str(self.grpc_port),
            "ADMIN_TOKEN_FILE": str(token),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.compose("down", "--volumes")

    def compose(self, *arguments: str) -> str:
        """What it prints to standard output. Raises Complaint where it fails."""
        limit_s = _BUILD_S if arguments[0] == "build" else _COMMAND_S
        return _run([*self._compose, *self._files, *arguments], self._environment, limit_s)

    def container(self) -> str:
        """The identity of the server's container."""
        name = f"name={self._environment['COMPOSE_PROJECT_NAME']}"
        found = _run([self.engine, "ps", "--all", "--quiet", "--filter", name], self._environment, _COMMAND_S).split()
        if len(found) != 1:
            raise Complaint(f"there are {len(found)} containers of this project, not one")
        return found[0]

    def inspect(self) -> dict[str, Any]:
        """All that the engine knows of the container."""
        (found,) = json.loads(_run([self.engine, "inspect", self.container()], self._environment, _COMMAND_S))
        return dict(found)

    def inside(self, command: str) -> tuple[int, str]:
        """Run a line of shell in the container; its exit code and what it printed."""
        done = subprocess.run(
            [self.engine, "exec", self.container(), "sh", "-c", command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_COMMAND_S,
        )  # fmt: skip
        return done.returncode, done.stdout.strip()

    def healthy(self) -> bool:
        """The result of the container's own health check, which is run now where nothing runs it by a clock."""
        if self.engine == "docker":
            return bool(self.inspect()["State"]["Health"]["Status"] == "healthy")
        return subprocess.run(["podman", "healthcheck", "run", self.container()], capture_output=True).returncode == 0

    def get(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Status and body over the published port; a POST where there are `data`. Raises OSError without an answer."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def until_ready(self) -> float:
        """Wait until /readyz answers with 200; returns the seconds. Raises Complaint where that takes too long."""
        began_s = time.monotonic()
        while (waited_s := time.monotonic() - began_s) < _READY_S:
            try:
                if self.get("/readyz")[0] == 200:
                    return waited_s
            except OSError:
                pass
            time.sleep(_LOOK_S)
        raise Complaint(f"it is not ready after {_READY_S:.0f} s")

    def follow_log(self, file: Path) -> "subprocess.Popen[bytes]":
        """Write the container's log to the file as it comes, until the container has gone."""
        with file.open("wb") as log:
            return subprocess.Popen([self.engine, "logs", "--follow", self.container()], stdout=log, stderr=log)


def _run(command: Sequence[str], environment: dict[str, str], limit_s: float) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit_s)
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise Complaint(f"{' '.join(command)} ended with code {done.returncode}:\n{end}")
    return done.stdout


def _files(folder: Path, fronts: int) -> list[str]:
    """Options: our file, and one that sets what only this test does, as users have an override of their own."""
    override = folder / "override.yml"
    override.write_text(f'services:\n  sesame:\n    environment:\n      SESAME_FRONTS: "{fronts}"\n')
    return ["-f", str(ROOT / "docker-compose.yml"), "-f", str(override)]


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
