"""On the CPU: which graphs of a bundle an engine can run there, and in which precisions."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bundle import overflow
from bundle.files import Bundle
from bundle.manifest import Graph
from server.engines.candidate import Candidate
from server.engines.engine import Engine
from server.engines.machine import Machine
from server.engines.table import EngineEntry
from server.host import cores

Make = Callable[[Path, int, str], Engine]
"""Makes an engine of a graph's file, a number of threads, and a precision."""

_GRAPHS = ("fp32", "int8")  # a bundle's other graphs are for GPUs


def candidates(
    entry: EngineEntry, make: Make, precisions: Sequence[str], bundle: Bundle, machine: Machine
) -> Iterator[Candidate]:
    """The engine over every graph for CPUs; in a lower precision than fp32 only where the manifest holds its proof.

    `precisions`: those in which it can run an fp32 graph.
    """
    proven = {(row.file, row.precision) for row in bundle.manifest.parity if row.engine == entry.name}
    for graph in [graph for graph in bundle.manifest.graphs if graph.precision in _GRAPHS and not _overflows(graph)]:
        for precision in precisions if graph.precision == "fp32" else (graph.precision,):
            if precision == "fp32" or (graph.file, precision) in proven:
                make_it = partial(_made, make, bundle.path / graph.file, machine.threads, precision)
                yield Candidate(entry.name, precision, make_it, f"{machine.threads} threads")


def why_not(bundle: Bundle) -> str:
    """Why no engine runs one of the bundle's graphs on this CPU, with the cure; "" where there is no such graph."""
    wrong = [graph.file for graph in bundle.manifest.graphs if _overflows(graph)]
    if not wrong:
        return ""
    return f"{wrong[0]} has 8 bit weights, which overflow on this CPU (no VNNI): export the bundle again"


def _overflows(graph: Graph) -> bool:
    return not overflow.is_safe(graph) and cores.saturates()


def _made(make: Make, graph: Path, threads: int, precision: str, processor: int) -> Engine:
    return make(graph, threads, precision)  # the CPU is one processor: its number is 0
