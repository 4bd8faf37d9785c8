"""Store: plans in the cache folder, each with its sidecar `<key>.json`."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bundle import records
from bundle.atomic import write_atomically
from bundle.errors import BundleError
from trt.errors import PlanError
from trt.sidecar import SCHEMA, Sidecar, Target, key

log = logging.getLogger(__name__)

_MAGIC = b"ftrt"
_VERSION_AT = 24
"""A plan begins with 0x74727466 in little-endian order; bytes 24 to 27 hold the version of TensorRT (`printPlanVersion`
in the samples of NVIDIA/TensorRT)."""


@dataclass(frozen=True)
class Plan:
    """A plan on the disk, with its sidecar."""

    path: Path
    sidecar: Sidecar

    def read(self) -> bytes:
        """The plan's bytes. Raises PlanError where they are not the bytes that were built."""
        cure = "run `python -m export build-engine` again"
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise PlanError(f"The plan cannot be read ({error.strerror}): {cure}.") from error
        if hashlib.sha256(data).hexdigest() != self.sidecar.sha256:
            raise PlanError(f"The plan is not the file that was built (sha256 differs): {cure}.")
        return data


class Store:
    """The plans and timing caches of this machine. Sidecars that are damaged or of another version are ignored."""

    def __init__(self, cache_dir: Path) -> None:
        self.folder = resolved(cache_dir) / "plans"

    def get(self, key: str) -> Plan | None:
        return self._plan(self.folder / f"{key}.json")

    def plans_for(self, graph_sha256: str, target: Target) -> list[Plan]:
        """The plans of that graph for that target, the newest first."""
        found = filter(None, map(self._plan, sorted(self.folder.glob("[0-9a-f]*.json"))))
        plans = [plan for plan in found if (plan.sidecar.graph_sha256, plan.sidecar.target) == (graph_sha256, target)]
        return sorted(plans, key=lambda plan: plan.sidecar.created, reverse=True)

    def put(self, data: bytes, sidecar: Sidecar) -> Plan:
        """Write a plan, then its sidecar, with which it becomes visible. Raises PlanError.

        The file is named after its content: a new plan with the same key does not replace the file of the old one,
        which may be in use.
        """
        text = json.dumps(dataclasses.asdict(sidecar), indent=1)
        with self._writing():
            write_atomically(self._file(sidecar), data)
            write_atomically(self.folder / f"{sidecar.key}.json", text.encode())
        return Plan(self._file(sidecar), sidecar)

    def timings(self, target: Target) -> bytes:
        """TensorRT's timing cache from earlier builds for that target; empty where there is none."""
        try:
            return self._timings(target).read_bytes()
        except OSError:
            return b""

    def put_timings(self, target: Target, data: bytes) -> None:
        """Raises PlanError."""
        with self._writing():
            write_atomically(self._timings(target), data)

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Allow one build at a time on this machine: two would distort each other's timings.

        `waiting` is called if another process builds; then this call waits for it. Raises PlanError.
        """
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed or the process ends
            yield

    def _file(self, sidecar: Sidecar) -> Path:
        return self.folder / f"{sidecar.key[:16]}-{sidecar.sha256[:16]}.plan"

    def _timings(self, target: Target) -> Path:
        """One file for each TensorRT version and kind of GPU: TensorRT rejects the timings of others."""
        return self.folder / f"{key([target.tensorrt, target.gpu, target.compute_capability])[:16]}.timings"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PlanError(
                f"The cache folder {self.folder} cannot be written ({error.strerror}): give another with --cache-dir."
            ) from error

    def _plan(self, path: Path) -> Plan | None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict) or data.get("schema") != SCHEMA:
                return None
            sidecar = records.read(Sidecar, data, "sidecar")
            file = self._file(sidecar)
            return Plan(file, sidecar) if file.is_file() else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, BundleError) as error:
            log.warning("the sidecar %s is ignored: %s", path.name, error)
            return None


def tensorrt_version(plan: bytes) -> str:
    """The TensorRT version that wrote a plan, for example "11.4.0.106"; "" where these bytes are no plan."""
    if len(plan) < _VERSION_AT + 4 or plan[:4] != _MAGIC:
        return ""
    return ".".join(map(str, plan[_VERSION_AT : _VERSION_AT + 4]))


def resolved(cache_dir: Path) -> Path:
    """The folder with `~` expanded; a temporary folder for a user without a home directory."""
    try:
        return cache_dir.expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir(), "sesame")
