"""Machine: what engines may use here, and which engines can run a bundle on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from bundle.files import Bundle
from server.engines import table
from server.engines.candidate import Candidate
from server.engines.table import AUTO, TENSORRT, EngineEntry
from trt.gpus import Gpu
from trt.store import Store


class Unusable(Exception):
    """An engine cannot be used on this machine. The message says why, and the cure where one is known."""


@dataclass(frozen=True)
class Machine:
    """`threads`: of an engine on the CPU. `store`: where this machine's plans are. `max_batch`: in images."""

    threads: int
    gpus: Sequence[Gpu]
    store: Store
    max_batch: int

    def candidates(self, bundle: Bundle) -> list[Candidate]:
        """Every engine over every graph that it can run here, in the order of the table. Slow: it imports runtimes."""
        return [candidate for entry in table.ENGINES for candidate in self._found(entry, bundle)]

    def why_not(self, entry: EngineEntry, bundle: Bundle) -> str:
        """Why this machine cannot use an engine, with the cure; "" where it can."""
        try:
            self._candidates(entry, bundle)
        except Unusable as reason:
            return str(reason)
        return ""

    def has_plans(self, bundle: Bundle) -> bool:
        """Whether TensorRT can run a graph of the bundle on every GPU."""
        return bool(self._found(TENSORRT, bundle))

    def could_have_plans(self, setting: str, engine: str) -> bool:
        """Whether TensorRT would replace `engine` if it had plans, with this value of the setting `engine`."""
        if setting != AUTO or engine == TENSORRT.name:
            return False
        try:
            self._load(TENSORRT)
        except Unusable:
            return False
        return True

    def _found(self, entry: EngineEntry, bundle: Bundle) -> list[Candidate]:
        try:
            return self._candidates(entry, bundle)
        except Unusable:
            return []

    def _candidates(self, entry: EngineEntry, bundle: Bundle) -> list[Candidate]:
        """Raises Unusable."""
        return list(self._load(entry).candidates(bundle, self))

    def _load(self, entry: EngineEntry) -> "Runtime":
        """Import an engine's file, and with it its runtime. Raises Unusable."""
        if entry.device == "gpu" and not self.gpus:
            raise Unusable("no GPU can be used, `python -m server doctor` says why")
        try:
            return cast(Runtime, import_module(entry.module))
        except (ImportError, OSError) as error:  # OSError: a library that cannot be loaded
            raise Unusable(f"no {entry.title} ({error})") from error


class Runtime(Protocol):
    """What the file of an engine holds."""

    def candidates(self, bundle: Bundle, machine: Machine) -> Iterable[Candidate]:
        """The engine over each graph of the bundle that it can run on this machine, and whose proof the bundle holds.

        Raises Unusable where the engine can run none on this machine, whatever the bundle.
        """
        ...
