"""On the CPU: ONNX Runtime, and OpenVINO where that is installed."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bundle import overflow
from bundle.files import Bundle
from bundle.manifest import Graph
from server import cores
from server.engines import Engine
from server.engines.candidate import Candidate
from server.engines.ort import OrtCpuEngine

Make = Callable[[Path, int, str], Engine]

_GRAPHS = ("fp32", "int8")  # the others of a bundle are a GPU's


def candidates(bundle: Bundle, threads: int) -> Iterator[Candidate]:
    """Every engine that is installed over every graph; of lower precisions those whose proof is in the manifest."""
    proven = {(row.file, row.engine, row.precision) for row in bundle.manifest.parity}
    for engine, (make, precisions) in _installed().items():
        for graph in [graph for graph in bundle.manifest.graphs if graph.precision in _GRAPHS and not _wrong(graph)]:
            for precision in precisions if graph.precision == "fp32" else (graph.precision,):
                if precision == "fp32" or (graph.file, engine, precision) in proven:
                    path = bundle.path / graph.file
                    yield Candidate(engine, precision, _maker(make, path, threads, precision), f"{threads} threads")


def why_not(bundle: Bundle) -> str:
    """Why a graph of the bundle is not run here, with the cure; "" where there is none such."""
    wrong = [graph.file for graph in bundle.manifest.graphs if _wrong(graph)]
    if not wrong:
        return ""
    return f"{wrong[0]} has 8 bit weights, which overflow on this CPU (no VNNI): export the bundle again"


def _wrong(graph: Graph) -> bool:
    return not overflow.safe(graph) and cores.saturates()


def _maker(make: Make, graph: Path, threads: int, precision: str) -> Callable[[int], Engine]:
    return lambda processor: make(graph, threads, precision)


def _installed() -> dict[str, tuple[Make, tuple[str, ...]]]:
    """By name: how an engine is made of a graph, and in which precisions it can run an fp32 graph."""
    found: dict[str, tuple[Make, tuple[str, ...]]] = {OrtCpuEngine.name: (OrtCpuEngine, ("fp32",))}
    if importlib.util.find_spec("openvino"):
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would report the import
        from server.engines import ov  # large, and not everybody's

        found[ov.OpenVinoCpuEngine.name] = (ov.OpenVinoCpuEngine, ov.precisions())
    return found
