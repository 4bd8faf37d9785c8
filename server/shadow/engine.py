"""Engine: one version of a model on one core of the CPU, proven by its probe as every engine that serves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from server.engines import probe_check, table
from server.engines.candidate import Candidate
from server.engines.engine import Engine
from server.engines.machine import Machine, Runtime
from server.engines.table import ONNXRUNTIME_CPU, EngineEntry
from trt.store import Store

_THREADS = 1
_STORE = Store(Path())  # no plan is looked for on the CPU


@dataclass(frozen=True)
class Network:
    """A bundle and the engine that computes it."""

    bundle: Bundle
    engine: Engine


OpenNetwork = Callable[[str, str, str], Network]
"""Opens the version in a folder, in an engine and a precision if that can be."""


def open_network(folder: str, engine: str, precision: str) -> Network:
    """The version in a folder, in that engine and precision where the CPU and the bundle have them.

    Otherwise fp32 in ONNX Runtime. Nothing is timed, and nothing is written to the cache: times of a process that
    stands behind all others would say nothing. Raises BundleError or EngineFailed, or whatever a runtime raises.
    """
    bundle = files.read(Path(folder))
    wanted = [(engine, precision), (ONNXRUNTIME_CPU.name, precision), (engine, "fp32"), (ONNXRUNTIME_CPU.name, "fp32")]
    for entry_name, wanted_precision in wanted:
        for candidate in _candidates(entry_name, bundle):
            if candidate.precision == wanted_precision:
                made = candidate.make(0)
                probe_check.check(made, bundle.probe, max_batch=1)
                return Network(bundle, made)
    raise BundleError(f"Nothing on this CPU runs '{bundle.manifest.name}': see `python -m server doctor`.")


def _candidates(engine: str, bundle: Bundle) -> Iterator[Candidate]:
    entry = next((each for each in table.ENGINES if each.name == engine and each.device == "cpu"), None)
    if entry:
        yield from _runtime(entry).candidates(bundle, Machine(_THREADS, (), _STORE, max_batch=1))


def _runtime(entry: EngineEntry) -> Runtime:
    return cast(Runtime, import_module(entry.module))
