"""Store: plans in the cache folder, and `<key>.json` with what is known of each."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bundle import records
from bundle.errors import BundleError
from plans.errors import PlanError
from plans.sidecar import SCHEMA, Sidecar, Target, key

log = logging.getLogger(__name__)

_MAGIC = b"ftrt"
_VERSION_AT = 24
"""A plan begins with 0x74727466 in little-endian order; bytes 24 to 27 are TensorRT's version (`printPlanVersion` in
the samples of NVIDIA/TensorRT)."""


@dataclass(frozen=True)
class Plan:
    """A plan on the disk."""

    path: Path
    sidecar: Sidecar

    def read(self) -> bytes:
        """Its bytes, which are those that were built here. Raises PlanError."""
        cure = "run `python -m export build-engine` again"
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise PlanError(f"The plan cannot be read ({error.strerror}): {cure}.") from error
        if hashlib.sha256(data).hexdigest() != self.sidecar.sha256:
            raise PlanError(f"The plan is not the file that was built (sha256 differs): {cure}.")
        return data


class Store:
    """Plans and timing caches of this machine. What is not understood or not whole counts as not there."""

    def __init__(self, cache_dir: Path) -> None:
        self.folder = resolved(cache_dir) / "plans"

    def get(self, key: str) -> Plan | None:
        return self._plan(self.folder / f"{key}.json")

    def fitting(self, graph_sha256: str, target: Target) -> list[Plan]:
        """Plans of that graph for that target, the newest first."""
        found = filter(None, map(self._plan, sorted(self.folder.glob("[0-9a-f]*.json"))))
        mine = [plan for plan in found if (plan.sidecar.graph_sha256, plan.sidecar.target) == (graph_sha256, target)]
        return sorted(mine, key=lambda plan: plan.sidecar.created, reverse=True)

    def put(self, data: bytes, sidecar: Sidecar) -> Plan:
        """Keep a plan; from the moment that its sidecar is there. Raises PlanError.

        Its name tells its content: one that takes its place leaves it to those who run it.
        """
        text = json.dumps(dataclasses.asdict(sidecar), indent=1)
        with self._writing():
            _write(self._file(sidecar), data)
            _write(self.folder / f"{sidecar.key}.json", text.encode())
        return Plan(self._file(sidecar), sidecar)

    def timings(self, target: Target) -> bytes:
        """What TensorRT measured in earlier builds for that target."""
        try:
            return self._timings(target).read_bytes()
        except OSError:
            return b""

    def put_timings(self, target: Target, data: bytes) -> None:
        """Raises PlanError."""
        with self._writing():
            _write(self._timings(target), data)

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[], None]) -> Iterator[None]:
        """One build at a time: two would spoil each other's timings. `waiting` is called if there is another.

        Raises PlanError.
        """
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)  # let go when the file is closed, or its process ends
            yield

    def _file(self, sidecar: Sidecar) -> Path:
        return self.folder / f"{sidecar.key[:16]}-{sidecar.sha256[:16]}.plan"

    def _timings(self, target: Target) -> Path:
        """TensorRT takes timings of its own version on the same kind of GPU."""
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
            log.warning("%s counts as not there: %s", path.name, error)
            return None


def version(plan: bytes) -> str:
    """The TensorRT that wrote a plan, as 11.4.0.106, without deserialising it; "" where it is no plan."""
    if len(plan) < _VERSION_AT + 4 or plan[:4] != _MAGIC:
        return ""
    return ".".join(map(str, plan[_VERSION_AT : _VERSION_AT + 4]))


def resolved(cache_dir: Path) -> Path:
    """The folder, with `~` spelled out; a temporary one for users without a home."""
    try:
        return cache_dir.expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir(), "sesame")


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
