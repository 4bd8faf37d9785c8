"""Pod: the server's container of a manifest, run as a plain process with its command, arguments and environment."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.support.kubelet import Probe

_IMAGE = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # of the Dockerfile, whose other variables pods set
_LISTENING = re.compile(r"listening http=http://\S+?:(\d+) grpc=\S+?:(\d+)")
_LISTENS_WITHIN_S = 120.0


class Pod:
    """A process whose files and ports are mapped: a path that begins as a key of `paths` does lies at its value, and
    the ports of the container are free ones of this machine. Its user is the tests' own.
    """

    def __init__(
        self, container: Mapping[str, Any], folder: Path, paths: Mapping[str, Path], within: Sequence[str] = ()
    ) -> None:
        """Start it, and wait until its ports are open. Raises AssertionError where it ends instead.

        `within`: a command that ends by executing its last arguments, which are the container's command.
        """
        self.container = container
        self._log = folder / "pod.log"
        command = [_mapped(word, paths) for word in (*container["command"], *container.get("args", ()))]
        command[0] = {"python": sys.executable}[command[0]]
        environment = {each["name"]: _mapped(each["value"], paths) for each in container.get("env", ())}
        ports = {name: value for name, value in environment.items() if re.fullmatch(r"SESAME_(HTTP|GRPC)_PORT", name)}
        command = [re.sub(r"^(--(?:http|grpc)-port)=\d+$", r"\1=0", word) for word in command]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*within, *command],
                cwd=REPOSITORY,
                env=_IMAGE | {"PATH": os.environ["PATH"]} | environment | dict.fromkeys(ports, "0"),
                stdout=log,
                stderr=log,
            )
        try:
            self.http_port, self.grpc_port = self._ports()
        except BaseException:
            self.kill()
            raise

    def probe(self, kind: str) -> Probe:
        """Of `startupProbe`, `livenessProbe` and `readinessProbe`."""
        names = {"http": self.http_port, "grpc": self.grpc_port}
        numbers = {str(port): self.http_port for port in (8000, 8080)}
        return Probe.of(self.container, kind, names | numbers, lambda: self._process.poll() is None)

    def status(self) -> dict[str, str]:
        """What Linux says of the process: proc_pid_status(5)."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def root_is_read_only(self) -> bool:
        """Of the file system that it sees: proc_pid_mounts(5)."""
        mounts = [line.split() for line in Path(f"/proc/{self._process.pid}/mounts").read_text().splitlines()]
        return [options.split(",")[0] for _, at, _, options, *_ in mounts if at == "/"][-1] == "ro"

    def pause(self) -> None:
        """It does nothing until `resume`, as a process that gets no core."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        self._process.terminate()

    def exit_code(self, limit_s: float) -> int | None:
        """None where it has not ended within the limit."""
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _ports(self) -> tuple[int, int]:
        limit_s = time.monotonic() + _LISTENS_WITHIN_S
        while time.monotonic() < limit_s and self._process.poll() is None:
            if found := _LISTENING.search(self.log()):
                return int(found[1]), int(found[2])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        raise AssertionError(f"The pod opened no ports (exit code {self._process.poll()}):\n{self.log()}")


def restricted(writable: Path) -> list[str]:
    """For `within`: a read-only file system but for a folder, no capabilities, no new privileges. Skips the test where
    that needs rights that it does not have.
    """
    if os.geteuid() or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("needs root, unshare and setpriv (util-linux)")
    script = f'mount --make-rprivate / && mount --bind {writable} {writable} && mount -o remount,bind,ro / && exec "$@"'
    dropped = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    namespace = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*namespace, script, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a system that lets root mount")
    return [*namespace, script, "sh", *dropped]


@contextlib.contextmanager
def started(container: Mapping[str, Any], paths: Mapping[str, Path], within: Sequence[str] = ()) -> Iterator[Pod]:
    """The container's process; it has ended when the block has. `within` is that of `Pod`."""
    with tempfile.TemporaryDirectory(prefix="sesame-pod-log-") as folder:
        pod = Pod(container, Path(folder), paths, within)
        try:
            yield pod
        finally:
            pod.kill()


def _mapped(text: str, paths: Mapping[str, Path]) -> str:
    """The text with the paths of the container as those of this machine; an option's value may be one."""
    for there, here in paths.items():
        text = re.sub(rf"(?<![^=]){re.escape(there)}(?=/|$)", str(here), text)
    return text
